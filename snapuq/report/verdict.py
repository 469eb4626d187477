"""Whether the error bars can be trusted, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from snapuq.analysis.calibration import GAUSSIAN_RATIO, PointwiseMetrics
from snapuq.analysis.expectation import Comparison
from snapuq.analysis.property_scores import PropertyScores
from snapuq.report.evaluation import NOT_FITTED, accuracy, agreement, is_poor_fit
from snapuq.report.failures import is_flagged
from snapuq.report.inputs import ReportInputs
from snapuq.report.soundness import TensorStability, is_host, is_meant_stable, tensor_stability
from snapuq.report.text import KINDS, number, percent

# Above this share of failed or unstable members an envelope means little.
_TOO_MANY_FAILED = 0.05
# A violation above this is more than the calibration (2 % on average of energies and forces) explains.
_EXPECTED_VIOLATION = 0.05
# An envelope holds everything where the error bars are more than half as large as the values.
_WIDE = 0.5


def verdict(
    inputs: ReportInputs,
    scores: PropertyScores,
    overall: Iterable[PointwiseMetrics],
    comparisons: Sequence[Comparison],
) -> Iterator[tuple[str, str]]:
    """State in plain words whether the error bars can be trusted.

    Parameters
    ----------
    inputs : ReportInputs
        What was run.
    scores : PropertyScores
        Of the properties.
    overall : iterable of PointwiseMetrics
        One per kind of rows.
    comparisons : sequence of Comparison
        What cross-validation expected of them.

    Yields
    ------
    level : {'good', 'warn', 'bad', 'none'}
        For the colour beside the sentence.
    sentence : str
        One sentence.
    """
    stability = list(_stability_verdict(inputs))
    yield _property_verdict(inputs, scores, any(level == "bad" for level, _, by_mle in stability if by_mle))
    yield from _campaign_verdict(inputs)
    yield from ((level, sentence) for level, sentence, _ in stability)
    overall = [m for m in overall if m.violation is not None]
    is_poor = any(map(is_poor_fit, overall))
    parts = [f"{KINDS[m.kind].name.lower()}: {accuracy(m)}" for m in overall if m.is_fitted or is_poor_fit(m)]
    if parts:
        text = f"Fit: {'; '.join(parts).replace('R^2', 'R²')}"
        yield ("bad", f"{text}; the error bars describe a poor fit.") if is_poor else ("good", f"{text}.")
    for m in overall:
        level, words = _calibration_words(m)
        # What the fit has not seen has errors too, but no part in the verdict on it.
        start = "" if m.is_fitted else f"{NOT_FITTED} (weight 0), {accuracy(m).replace('R^2', 'R²')}; "
        yield (
            level,
            f"{KINDS[m.kind].name}: {start}{percent(m.violation)} of {m.count:,} true values lie outside the "
            f"envelope and the mean error is {number(m.error_over_std, 2)} of the mean std "
            f"({GAUSSIAN_RATIO:.2f} when calibrated); {words}.",
        )
    told = agreement(comparisons)
    if told is not None and not (is_poor and told[0] == "good"):
        yield told


def _property_verdict(inputs: ReportInputs, scores: PropertyScores, is_unstable: bool) -> tuple[str, str]:
    if scores.share_inside is None:
        what = "no property was computed" if not scores.n_quantities else "no reference value is known"
        return "none", f"Properties: {what}, so no envelope can be checked against the truth."
    level = "good" if scores.share_inside >= 0.95 else "warn" if scores.share_inside >= 0.8 else "bad"
    text = (
        f"Properties: the envelope of the {inputs.n_members} members holds {scores.n_inside} of "
        f"{scores.n_reference} reference values ({percent(scores.share_inside)})"
    )
    if scores.median_relative_std is not None:
        text += f"; the median error bar (std) is {percent(scores.median_relative_std)} of the value"
        if scores.median_relative_std > _WIDE:
            level = "bad" if level == "bad" else "warn"
            text += ": so wide an envelope holds almost anything"
    if is_unstable:
        level = "bad"
        text += "; the MLE itself cannot hold a crystal that was asked for (Stability, below)"
    return level, text + "."


def _campaign_verdict(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    """Failed and flagged tasks, which change what the envelopes mean."""
    members = [r for r in inputs.results if r.member > 0]
    best = [r for r in inputs.results if r.member == 0]
    lost = sorted({r.label for r in best if r.failure})
    doubtful = sorted({r.label for r in best if is_flagged(r)})
    if lost:
        yield "bad", f"Campaign: the best fit itself has no value for {', '.join(lost)}."
    if doubtful:
        where = ", ".join(doubtful)
        text = f"Campaign: the best fit itself did not converge or was reconfigured in {where}; "
        yield "bad", text + "its values there are not to be quoted."
    failed, flagged = sum(bool(r.failure) for r in members), sum(map(is_flagged, members))
    if failed or flagged:
        parts = []
        if failed:
            parts.append(
                f"{failed:,} gave no value, so their envelopes are over the others alone and the true ones "
                "may be wider"
            )
        if flagged:
            parts.append(f"{flagged:,} did not converge or were reconfigured; their values are kept")
        yield (
            "bad" if failed + flagged > _TOO_MANY_FAILED * len(members) else "warn",
            f"Campaign: of {len(members):,} property calculations of members, {', and '.join(parts)}. "
            "The reasons are below.",
        )


def _stability_verdict(inputs: ReportInputs) -> Iterator[tuple[str, str, bool]]:
    """Level, sentence and whether it is about the MLE, for each crystal that is not stable throughout."""
    known = tensor_stability(inputs.results)
    for found in known:
        if found.is_mle_unstable:
            is_meant = is_meant_stable(found.crystal, inputs.results)
            level = "bad" if is_meant and not found.is_reference_unstable else "warn"
            yield level, _unstable_mle(found, is_meant), True
        elif found.n_unstable:
            share = found.n_unstable / found.n_members
            yield (
                "bad" if share > _TOO_MANY_FAILED else "warn",
                f"Stability: {found.n_unstable} of {found.n_members} members are elastically unstable in "
                f"{found.label}, and the MLE is not; what they give for other properties of that crystal may "
                "mean little.",
                False,
            )
    told = {found.crystal for found in known}
    for crystal in inputs.unstable:
        if crystal not in told and is_host(crystal, inputs.results):
            text = f"Stability: the MLE itself is elastically unstable in {crystal}, so its defects and "
            yield "bad", text + "surfaces mean nothing.", True


def _unstable_mle(found: TensorStability, is_meant: bool) -> str:
    text = (
        f"Stability: the MLE itself is elastically unstable in {found.label} (smallest Born eigenvalue "
        f"{number(found.mle)} GPa), and so are {found.n_unstable} of {found.n_members} members"
    )
    if found.is_reference_unstable:
        return f"{text}, and the reference; the moduli of an unstable crystal mean nothing."
    if is_meant:
        return f"{text}; its moduli, and what else it gives for that crystal, mean nothing."
    return (
        f"{text}, as the real crystal may be, because another of its composition lies lower; the moduli of "
        "an unstable crystal mean nothing."
    )


def _calibration_words(m: PointwiseMetrics) -> tuple[str, str]:
    ratio = m.error_over_std
    if not m.is_fitted:
        return "none", "no error bar is calibrated on them"
    if ratio is None:
        return "bad", "the members do not differ"
    if is_poor_fit(m):
        return "bad", "they describe a poor fit"
    if ratio > 1.3:
        return "bad", "the error bars are too narrow"
    if m.violation_low is not None and m.violation_low > _EXPECTED_VIOLATION:
        return "warn", "more true values lie outside than the calibration aims at"
    if ratio < 0.5:
        if m.violation is not None and m.violation > _EXPECTED_VIOLATION:
            return "warn", "the error bars are dominated by a few configurations"
        return "warn", "the error bars are safe but wider than needed"
    return "good", "the error bars tell the size of the error"
