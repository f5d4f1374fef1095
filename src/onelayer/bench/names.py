"""Names of workloads and peers, to be checked before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from onelayer.errors import OnelayerError, did_you_mean


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


@dataclass(frozen=True)
class TableNames:
    """The names of a table whose entries cannot be made without torch.

    Attributes:
        names: Names of the entries, in the order of the table.
        problem: Text of the error for an unknown name, with ``{!r}`` in its place.
        expected: Expected input of that error, with ``{}`` in place of the names.
    """

    names: tuple[str, ...]
    problem: str
    expected: str = "{}"

    def check(self, names: Iterable[str]) -> None:
        """Refuse names that no entry has.

        Raises:
            OnelayerError: If there is one.
        """
        for name in names:
            if name not in self.names:
                raise OnelayerError(
                    self.problem.format(name),
                    expected=self.expected.format(", ".join(self.names)),
                    hint=did_you_mean(name, self.names),
                )

    def select(self, table: Iterable[Entry], names: Sequence[str]) -> list[Entry]:
        """Return the entries of those names, in the order of the table.

        Raises:
            OnelayerError: If no entry has one of the names.
        """
        self.check(names)
        return [entry for entry in table if entry.name in names]


WORKLOAD_NAMES = TableNames(
    (
        "report-float32",
        "report-uint8",
        "imagenet-375x500",
        "imagenet-1080x1920",
        "imagenet-3000x4000",
        "imagenet-stream",
        "clip-stream",
        "siglip-stream",
        "timm-stream",
        "timm-squash-stream",
        "open-clip-stream",
        "clip-processor-stream",
        "vit-processor-stream",
        "siglip-processor-stream",
        "clip-375x500",
        "siglip-375x500",
    ),
    problem="there is no workload {!r}, and no run in a folder of that name",
)
"""Names of :data:`onelayer.bench.workloads.WORKLOADS`."""

PEER_NAMES = TableNames(
    (
        "onelayer",
        "onelayer-fused",
        "onelayer-out",
        "onelayer-torch",
        "torchvision",
        "torchvision-chw",
        "torchvision-batched",
        "torchvision-batched-hwc",
        "torchvision-compiled",
        "torchvision-v1",
        "library",
        "onelayer-library",
        "pillow",
        "pillow-simd",
        "opencv",
        "albumentationsx",
        "kornia",
        "kornia-rs",
        "kornia-rs-fused",
        "dali",
        "dense",
        "onnxruntime-dense",
        "openvino-dense",
    ),
    problem="there is no peer named {!r}",
    expected="all, or some of {}",
)
"""Names of :data:`onelayer.bench.peers.PEERS`."""
