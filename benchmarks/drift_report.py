"""What `benchmarks.drift` found, as tables and a picture, beside the figures of the study that the method is from."""

from pathlib import Path
from typing import Any

Json = dict[str, Any]
SHARES = (0.1, 0.2, 0.5, 1.0)
RESEARCH = {"static": (567, 144, 38, 15), "minilm": (180, 83, 21, 9)}


def markdown(result: Json) -> str:
    """The tables."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in result["sources"].items())
    lines = [
        "# Drift on real text", "",
        f"`python -m benchmarks.drift`, {result['runs']} runs each way, seed {result['seed']}. Usual traffic: "
        f"{result['usual']}; drifting in: paragraphs or summaries of installed Python packages ({sizes}).", "",
        "## Requests between false alarms", "",
        "Held-out text, never seen by the reference set. Drawn once: each text once a run, in random order; again: 10,000 "
        "draws a run.", "",
        "| embedder | monitor | promised | drawn | requests | alarms | requests an alarm |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in result["embedders"]:
        for row in one["held_out"]:
            length = f"{row['requests'] / row['alarms']:,.0f}" if row["alarms"] else f"> {row['requests']:,}"
            lines.append(
                f"| {one['embedder']} | {row['monitor']} | {row['promise']:,} | {row['drawn']} | {row['requests']:,} | "
                f"{row['alarms']} | {length} |"
            )
    lines += [
        "", "## Requests until a drift is noticed", "",
        f"Mean of {result['runs']} runs (median), promise {result['promise']:,}, after 200 usual requests; "
        f"{result['patience']:,} means not "
        "noticed by then. Research: the figures of the study that the method is taken from, on its own texts.", "",
        "| embedder | drifting in | monitor | 10% | 20% | 50% | 100% |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in result["embedders"]:
        for source, monitor in dict.fromkeys((row["source"], row["monitor"]) for row in one["delays"]):
            rows = [row for row in one["delays"] if (row["source"], row["monitor"]) == (source, monitor)]
            cells = " | ".join(f"{row['mean']:,.0f} ({row['median']:,.0f})" for row in rows)
            lines.append(f"| {one['embedder']} | {source} | {monitor} | {cells} |")
        study = " | ".join(str(value) for value in RESEARCH[one["embedder"]])
        lines.append(f"| {one['embedder']} | research | novelty | {study} |")
    lines += ["", "## Embedders", "",
              "AUC of the distance alone, and of the distance in units of what is usual for a text of that length.", "",
              "| embedder | ms a text | AUC paragraphs | AUC summaries | research |", "|---|---|---|---|---|"]  # fmt: skip
    study_of = {"static": "AUC .905, 0.14 ms", "minilm": "AUC .952, 7.7 ms"}
    for one in result["embedders"]:
        cells = " | ".join(
            ", ".join(f"{value:.3f}" for value in one["auc"][name]) for name in ("paragraphs", "summaries")
        )
        lines.append(f"| {one['embedder']} | {one['ms_per_text']} | {cells} | {study_of[one['embedder']]} |")
    return "\n".join([*lines, "", "![delay by contamination](drift.png)", ""])


def plot(result: Json, path: Path) -> None:
    """Delay by contamination, and requests between false alarms against the promise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.6), gridspec_kw={"width_ratios": [3, 2]})
    colours = {"static": "#1f6feb", "minilm": "#d1570a"}
    styles = {"paragraphs": "-", "summaries": "--"}
    shares = [100 * share for share in SHARES]
    for one in result["embedders"]:
        for source, style in styles.items():
            rows = [row for row in one["delays"] if (row["source"], row["monitor"]) == (source, "novelty")]
            left.plot(shares, [row["mean"] for row in rows], style, marker="o", color=colours[one["embedder"]],
                      label=f"{one['embedder']}, {source}")  # fmt: skip
        study = RESEARCH[one["embedder"]]
        left.plot(
            shares,
            study[-len(shares) :],
            ":",
            marker="x",
            color=colours[one["embedder"]],
            label=f"{one['embedder']}, research",
        )
    left.set(xscale="log", yscale="log", xlabel="share of requests from elsewhere (%)",
             ylabel="requests until the alarm (mean)", title="Novelty: how soon a drift is noticed")  # fmt: skip
    left.set_xticks(shares, [f"{share:g}" for share in shares])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    bars = [(one["embedder"], row) for one in result["embedders"] for row in one["held_out"] if row["drawn"] == "again"]
    names = [f"{embedder}\n{row['monitor']}" for embedder, row in bars]
    # Without an alarm the run is at least as long as all requests together.
    lengths = [row["requests"] / max(row["alarms"], 1) for _, row in bars]
    right.bar(names, lengths, color=[colours[embedder] for embedder, _ in bars])
    for place, (_, row) in enumerate(bars):
        right.text(place, lengths[place], f"{row['alarms']} alarms", ha="center", va="bottom", fontsize=8)
    right.axhline(result["promise"], color="black", linewidth=1)
    right.axhline(result["promise"] / 2, color="black", linewidth=1, linestyle=":")
    right.text(len(bars) - 0.4, result["promise"], " promised", va="center", fontsize=8)
    right.text(len(bars) - 0.4, result["promise"] / 2, " half", va="center", fontsize=8)
    right.set(ylabel="requests an alarm", title="Held-out text: between false alarms")
    right.tick_params(axis="x", labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
