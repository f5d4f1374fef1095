"""Learning a dense layer from images and a pipeline."""
