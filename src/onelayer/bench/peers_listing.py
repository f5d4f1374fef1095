"""What can be timed here, for those who ask."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.bench.peers.peer import Peer
from onelayer.bench.peers.registry import PEERS
from onelayer.bench.workloads import WORKLOADS


def workloads_table() -> Table:
    """All workloads, for the terminal."""
    table = Table("workload", "what", "images of a pass", box=box.SIMPLE_HEAD, pad_edge=False)
    for workload in WORKLOADS:
        images = f"{workload.count:,}" + (", in batches" if workload.batched else "")
        table.add_row(workload.name, workload.title, images)
    return table


def peers_table() -> Table:
    """All peers, and whether they can work here, for the terminal."""
    table = Table("peer", "what", "here", box=box.SIMPLE_HEAD, pad_edge=False)
    for peer in PEERS:
        reason = why_not_here(peer)
        table.add_row(peer.name, peer.label, Text("yes", "green") if reason is None else Text(reason, "yellow"))
    return table


def why_not_here(peer: Peer) -> str | None:
    """Why a peer can do none of the workloads here, by its words on the first of them; None if it can do one."""
    reasons = [peer.why_not(workload.work, workload.example) for workload in WORKLOADS]
    return None if None in reasons else reasons[0]
