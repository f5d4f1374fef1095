"""The report: learn a layer on CIFAR-10, compare it with the transforms, time both, write a page."""
