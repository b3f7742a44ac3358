from graduand.monitoring.metrics import FAMILIES, LABELS
from graduand.monitoring.reference import PAGE, page


def test_the_page_of_metrics_is_fresh() -> None:
    assert PAGE.read_text() == page(FAMILIES), "stale: python -m graduand.monitoring.reference"


def test_every_family_is_on_it() -> None:
    text = page(FAMILIES)
    assert all(f"`{family.name}" in text for family in FAMILIES)
    assert "`graduand_requests_total` | counter" in text


def test_every_label_is_explained_and_used() -> None:
    assert {label for family in FAMILIES for label in family.labels} == LABELS.keys()
