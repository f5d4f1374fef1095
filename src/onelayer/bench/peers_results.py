"""What a benchmark against peers leaves behind: a record, a page and pictures."""

from __future__ import annotations

from pathlib import Path

from onelayer.atomic_write import write_whole
from onelayer.bench.peers_chart import draw_headline, draw_workload
from onelayer.bench.peers_record import PeersRecord
from onelayer.bench.peers_table import page
from onelayer.plotting import encode_png


def write_results(record: PeersRecord, folder: Path) -> None:
    """Write the record and the page, and draw the workload of the last case; and the headline, where there is one.

    To be called after each case: so whatever ends a benchmark early, what was measured is kept.

    Args:
        record: With at least one case.
        folder: Receives ``peers.json``, ``peers.md``, and the pictures.
    """
    record.write(folder / "peers.json")
    write_whole(folder / "peers.md", page(record).encode("utf-8"))
    last = record.cases[-1]
    together = [case for case in record.cases if (case.workload, case.threads) == (last.workload, last.threads)]
    picture = folder / f"{last.workload}-threads-{last.threads}.png"
    write_whole(picture, encode_png(draw_workload(together)))
    headline = draw_headline(record.cases)
    if headline is not None:
        write_whole(folder / "headline.png", encode_png(headline))
