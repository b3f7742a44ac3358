"""Write the dashboards' JSON: `python -m graduand.monitoring.grafana`."""

from pathlib import Path

from graduand.monitoring.grafana import adapter, engines, log, overview, quality, rollout, savings
from graduand.monitoring.grafana.build import encoded

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = (overview.BOARD, rollout.BOARD, adapter.BOARD, quality.BOARD, savings.BOARD, engines.BOARD, log.BOARD)


def files() -> dict[Path, str]:
    """What each file should hold."""
    return {FOLDER / f"{board.uid}.json": encoded(board) for board in BOARDS}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        print(path)
