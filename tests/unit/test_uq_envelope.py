"""Envelopes of linear functionals of a box: exact distributions, brute force, and what holds for any box."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from snapuq.core.potential import Potential, SnapSettings
from snapuq.errors import InputError
from snapuq.uq.envelope import Envelope, conditional_mean, envelope, langevin, worst_case_members
from snapuq.uq.uniform_sum import uniform_sums

# Covers both tails and the centre.
LEVELS = (1e-4, 0.025, 0.16, 0.3, 0.5, 0.84, 0.975, 1 - 1e-4)
# Errors are in standard deviations; the series is cut at 1e-11 in the distribution function, and the density
# at the probability 1e-4 is above 3e-4 per standard deviation.
QUANTILE_TOLERANCE = 1e-7
# The expected extreme adds up that error over the members.
EXTREME_TOLERANCE = 1e-7
# A Monte Carlo estimate of about 20 numbers per case stays within this many of its standard errors.
SIGMAS = 5.0


@dataclass(frozen=True)
class FakeBox:
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class FakePosterior:
    """The attributes that the functions under test may read."""

    mle: np.ndarray
    box: FakeBox
    scale: float = 1.0


def unit_box(k: int) -> FakePosterior:
    """[-1, 1]^k around the origin: functionals are their own half-widths."""
    return FakePosterior(np.zeros(k), FakeBox(np.eye(k), -np.ones(k), np.ones(k)))


def random_box(seed: int, columns: int = 7, k: int = 5) -> FakePosterior:
    rng = np.random.default_rng(seed)
    low = -rng.exponential(size=k)
    high = low + rng.exponential(size=k)
    return FakePosterior(rng.normal(size=columns), FakeBox(rng.normal(size=(columns, k)), low, high), 1.7)


def exact_cdf(half_widths: list[Fraction], x: Fraction) -> Fraction:
    """The piecewise polynomial of degree k, in rational numbers: no rounding at all."""
    k, total = len(half_widths), Fraction(0)
    for signs in itertools.product((1, -1), repeat=k):
        corner = x + sum(s * a for s, a in zip(signs, half_widths, strict=True))
        total += math.prod(signs) * max(corner, Fraction(0)) ** k
    return total / (math.factorial(k) * math.prod(2 * a for a in half_widths))


# One dominant, equal, small against large, and widths over many orders: every branch of the method.
FAMILIES: dict[str, np.ndarray] = {
    "single": np.array([2.0]),
    "two": np.array([1.0, 0.4]),
    "two, far apart": np.array([1.0, 1e-5]),
    "three": np.array([0.3, 1.0, 0.7]),
    "equal": np.full(12, 0.8),
    "four and dust": np.r_[np.ones(4), np.full(60, 1e-4)],
    "dominant": np.r_[1.0, np.full(40, 0.01)],
    "powers of ten": 10.0 ** -np.arange(12),
    "powers of two": 2.0 ** -np.arange(12),
    "with zeros": np.r_[np.zeros(50), 0.5, 1.0, np.zeros(3), 0.2],
    "many": np.abs(np.random.default_rng(3).normal(size=300)),
}


@pytest.mark.parametrize("half_width", [1e-9, 1.0, 3e7])
@pytest.mark.parametrize("members", [1, 2, 20, 500, 10**6])
def test_single_uniform(half_width: float, members: int) -> None:
    found = envelope(unit_box(1), [half_width], members, probabilities=LEVELS)
    exact = half_width * (2 * np.array(LEVELS) - 1)
    assert np.allclose(found.quantiles, exact, rtol=0, atol=1e-12 * half_width)
    # The largest of M on [-1, 1] is expected at (M - 1) / (M + 1); the rest is what its error admits.
    error = abs(float(found.expected_maximum) - half_width * (members - 1) / (members + 1))
    assert error <= found.extreme_error <= 1e-8 * half_width
    assert found.std == pytest.approx(half_width / math.sqrt(3), rel=1e-14)


@pytest.mark.parametrize("narrow", [1.0, 0.5, 1e-3, 1e-5, 1e-6, 1e-8])
def test_two_terms_are_a_trapezoid(narrow: float) -> None:
    exact = trapezoid_quantile(np.array(LEVELS), narrow)
    found = envelope(unit_box(2), [1.0, narrow], probabilities=LEVELS)
    # The least density among these levels is 0.007.
    assert (np.abs(found.quantiles - exact) <= found.quantile_error).all()
    assert found.quantile_error[2:-1].max() < 1e-10
    expected = maximum_by_quadrature(lambda x: trapezoid_cdf(x, narrow), 1.0 + narrow, 1.0 - narrow)
    assert abs(float(found.expected_maximum) - expected) < EXTREME_TOLERANCE


def trapezoid_cdf(x: float, narrow: float) -> float:
    """Of V_1 + narrow V_2, narrow <= 1, for x >= 0."""
    if x <= 1.0 - narrow:
        return 0.5 + 0.5 * x
    return 1.0 - (1.0 + narrow - x) ** 2 / (8.0 * narrow)


def trapezoid_quantile(p: np.ndarray, narrow: float) -> np.ndarray:
    tail = np.minimum(p, 1.0 - p)
    ramp = 1.0 + narrow - np.sqrt(8.0 * narrow * tail)
    flat = 1.0 - 2.0 * tail
    return np.sign(p - 0.5) * np.where(flat <= 1.0 - narrow, flat, ramp)


def maximum_by_quadrature(cdf, end: float, kink: float, members: int = 500) -> float:
    """E[max] = end - integral of F^M, by adaptive quadrature; F^500 is below 1e-150 at the centre."""
    pieces = [0.0, *(x for x in (kink,) if 0.0 < x < end), end]
    total = sum(
        integrate.quad(lambda x: cdf(x) ** members, a, b, epsabs=1e-12, epsrel=1e-12, limit=500)[0]
        for a, b in itertools.pairwise(pieces)
    )
    return end - total


@pytest.mark.parametrize("k", [3, 4, 5, 8, 13, 20])
def test_equal_terms_are_irwin_hall(k: int) -> None:
    # scipy's own Irwin-Hall distribution loses digits in the tail; rational arithmetic does not.
    found = envelope(unit_box(k), np.ones(k), probabilities=LEVELS)
    for p, x, error in zip(LEVELS, found.quantiles, found.quantile_error, strict=True):
        cdf = irwin_hall((Fraction(float(x)) + k) / 2, k)
        density = irwin_hall_density(float(x), k)
        # Rounding of x and of p themselves.
        assert abs(float(cdf - Fraction(p))) <= 1.01 * density * float(error) + 1e-15
        assert error < QUANTILE_TOLERANCE * found.std
    expected = maximum_by_quadrature(lambda x: float(irwin_hall((Fraction(x) + k) / 2, k)), float(k), 0.5 * k)
    difference = abs(float(found.expected_maximum) - expected)
    assert difference <= found.extreme_error + 1e-10
    assert found.extreme_error < EXTREME_TOLERANCE * found.std


def irwin_hall(x: Fraction, k: int) -> Fraction:
    """Distribution function of the sum of k uniform variables on [0, 1]."""
    terms = ((-1) ** j * math.comb(k, j) * (x - j) ** k for j in range(math.floor(x) + 1))
    return sum(terms, Fraction(0)) / math.factorial(k)


def irwin_hall_density(x: float, k: int) -> float:
    """Density of the sum of k uniform variables on [-1, 1]."""
    at = (Fraction(x) + k) / 2
    terms = ((-1) ** j * math.comb(k, j) * (at - j) ** (k - 1) for j in range(math.floor(at) + 1))
    return float(sum(terms, Fraction(0)) / math.factorial(k - 1)) / 2


@pytest.mark.parametrize("widths", [(1000, 30, 1), (100, 100, 1, 1), (5, 3, 2, 1), (10**6, 10**3, 10**3, 1)])
@pytest.mark.parametrize("members", [5, 500])
def test_expected_maximum_against_the_exact_polynomial(widths: tuple[int, ...], members: int) -> None:
    half_widths = [Fraction(w) for w in widths]
    found = envelope(unit_box(len(widths)), np.array(widths, dtype=float), members)
    corners = {float(np.dot(s, widths)) for s in itertools.product((1, -1), repeat=len(widths))}
    # Between neighbouring corners the distribution function is a polynomial: a Gauss rule on pieces of them.
    at, weight = np.polynomial.legendre.leggauss(30)
    edges = np.sort(np.concatenate([np.linspace(a, b, 21) for a, b in itertools.pairwise(sorted(corners))]))
    integral = 0.0
    for a, b in itertools.pairwise(np.unique(edges)):
        cdf = [float(exact_cdf(half_widths, Fraction(float(x)))) for x in 0.5 * (a + b) + 0.5 * (b - a) * at]
        integral += 0.5 * (b - a) * float(weight @ np.array(cdf) ** members)
    error = abs(float(found.expected_maximum) - (sum(widths) - integral))
    assert error <= found.extreme_error <= EXTREME_TOLERANCE * found.std


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=6),
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_quantiles_against_the_exact_polynomial(widths: list[int], levels: list[float]) -> None:
    found = envelope(unit_box(len(widths)), np.array(widths, dtype=float), probabilities=levels)
    half_widths = [Fraction(w) for w in widths]
    for p, x, error in zip(levels, found.quantiles, found.quantile_error, strict=True):
        assert error < QUANTILE_TOLERANCE * found.std
        # The exact quantile lies within the stated error.
        assert exact_cdf(half_widths, Fraction(float(x - error))) <= Fraction(p)
        assert exact_cdf(half_widths, Fraction(float(x + error))) >= Fraction(p)


@pytest.mark.parametrize("name", FAMILIES)
def test_against_a_million_samples(name: str) -> None:
    widths = FAMILIES[name]
    members, batches = 500, 2000
    rng = np.random.default_rng(7)
    samples = np.concatenate(
        [rng.uniform(-1, 1, size=(10 * members, len(widths))) @ widths for _ in range(batches // 10)]
    )
    found = envelope(unit_box(len(widths)), widths, members, probabilities=LEVELS)
    n = len(samples)
    for p, x in zip(LEVELS, found.quantiles, strict=True):
        below = np.mean(samples <= x)
        assert abs(below - p) < SIGMAS * math.sqrt(p * (1 - p) / n)
    assert found.std == pytest.approx(samples.std(), rel=SIGMAS / math.sqrt(n))
    for extreme, batch in (
        (found.expected_maximum, samples.reshape(batches, members).max(axis=1)),
        (found.expected_minimum, samples.reshape(batches, members).min(axis=1)),
    ):
        assert abs(float(extreme) - batch.mean()) < SIGMAS * batch.std() / math.sqrt(batches)
    assert (found.quantile_error < QUANTILE_TOLERANCE * found.std).all()
    assert found.extreme_error < EXTREME_TOLERANCE * found.std


@pytest.mark.parametrize("name", FAMILIES)
def test_every_method_gives_the_same_distribution(name: str) -> None:
    # Terms far too small to matter change the number of terms, and with it the method and the series.
    widths = FAMILIES[name]
    plain = envelope(unit_box(len(widths)), widths, probabilities=LEVELS)
    dust = np.r_[widths, np.full(700, 1e-10 * widths.max())]
    dusty = envelope(unit_box(len(dust)), dust, probabilities=LEVELS)
    # 700 independent terms of 1e-10 have a spread of 1.5e-9.
    allowed = 1e-8 * widths.max() + plain.quantile_error + dusty.quantile_error
    assert (np.abs(plain.quantiles - dusty.quantiles) <= allowed).all()
    allowed = 1e-8 * widths.max() + plain.extreme_error + dusty.extreme_error
    assert abs(float(plain.expected_maximum - dusty.expected_maximum)) <= allowed


def test_rounding_of_a_large_baseline_is_in_the_error() -> None:
    found = envelope(unit_box(1), [1.0], 4, baseline=1e9 + 0.3, probabilities=LEVELS)
    exact = [Fraction(1e9 + 0.3) + 2 * Fraction(p) - 1 for p in LEVELS]
    for x, e, error in zip(found.quantiles, exact, found.quantile_error, strict=True):
        assert abs(Fraction(float(x)) - e) <= error < 1e-6
    assert (
        abs(Fraction(float(found.expected_maximum)) - Fraction(1e9 + 0.3) - Fraction(3, 5))
        < found.extreme_error
    )


def test_probabilities_beyond_the_accuracy_say_so() -> None:
    found = envelope(unit_box(5), np.ones(5), 10**8, probabilities=[1e-300, 1e-13])
    assert (found.quantile_error >= 0.1).all()
    # Five terms reach 5; the largest of 10^8 comes close to that, and the error allows for it.
    assert 4.0 < found.expected_maximum <= 5.0


def test_tail_against_lugannani_and_rice() -> None:
    widths = np.abs(np.random.default_rng(5).normal(size=200))
    [(_, group)] = list(uniform_sums(widths[None]))
    unit = widths / math.sqrt((widths**2).sum() / 3)
    for x in (1.0, 2.0, 3.0, 4.5):
        tilt = optimize.brentq(lambda t, x=x: unit @ langevin(t * unit) - x, 1e-3, 1e3)
        z = tilt * unit
        cumulant = np.log(np.sinh(z) / z).sum()
        curvature = (unit**2 * (1 / z**2 - 1 / np.sinh(z) ** 2)).sum()
        w, u = math.sqrt(2 * (tilt * x - cumulant)), tilt * math.sqrt(curvature)
        approximate = stats.norm.sf(w) + stats.norm.pdf(w) * (1 / u - 1 / w)
        # The expansion's own error, of order 1 / k.
        assert group.tail_and_density(np.array([[x]]))[0][0, 0] == pytest.approx(approximate, rel=2e-3)


@pytest.mark.parametrize("k", [1, 4, 12])
def test_bounds_against_all_vertices(k: int) -> None:
    post = random_box(k, columns=9, k=k)
    g = np.random.default_rng(1).normal(size=(5, 9))
    baseline = np.arange(5.0)
    corners = np.array(list(itertools.product(*zip(post.box.low, post.box.high, strict=True))))
    values = g @ (post.mle[:, None] + post.scale * post.box.axes @ corners.T) + baseline[:, None]
    found = envelope(post, g, baseline=baseline)
    assert np.allclose(found.vertex_minimum, values.min(axis=1), rtol=1e-12, atol=1e-12)
    assert np.allclose(found.vertex_maximum, values.max(axis=1), rtol=1e-12, atol=1e-12)
    assert np.allclose(found.mean, values.mean(axis=1), rtol=1e-12, atol=1e-12)
    assert np.allclose(found.mle, g @ post.mle + baseline)


def test_against_drawn_members() -> None:
    post, members, ensembles = random_box(2, columns=6, k=6), 100, 2000
    rows = np.random.default_rng(4).normal(size=(30, 6))
    u = np.random.default_rng(5).uniform(post.box.low, post.box.high, size=(members * ensembles, 6))
    values = rows @ (post.mle + post.scale * u @ post.box.axes.T).T
    found = envelope(post, rows, members)
    assert np.allclose(found.mle, rows @ post.mle)
    for expected, batch in (
        (found.expected_maximum, values.reshape(30, ensembles, members).max(axis=2)),
        (found.expected_minimum, values.reshape(30, ensembles, members).min(axis=2)),
    ):
        assert (np.abs(expected - batch.mean(axis=1)) < SIGMAS * batch.std(axis=1) / ensembles**0.5).all()


def test_worst_case_members_are_potentials_at_the_expected_extremes() -> None:
    post, rows = random_box(8, columns=6, k=6), np.random.default_rng(2).normal(size=(3, 6))
    linear = SnapSettings(("W",), 4.7, 2, (0.5,), (1.0,), bzeroflag=False)
    found = envelope(post, rows, 200)
    low, high = worst_case_members(post, rows, 200)
    for i, row in enumerate(rows):
        assert row @ Potential(linear, low[i]).coefficients == pytest.approx(found.expected_minimum[i])
        assert row @ Potential(linear, high[i]).coefficients == pytest.approx(found.expected_maximum[i])
    alone, _ = worst_case_members(post, rows[0], 200)
    assert alone.shape == (6,)
    assert np.allclose(alone, low[0])


boxes = st.builds(random_box, st.integers(0, 10**6), st.just(7), st.integers(1, 12))
functionals = st.lists(st.integers(-50, 50), min_size=7, max_size=7).filter(any)


def numerical_error(found: Envelope) -> float:
    # Twice, for the comparison of two; the roundoff of the products comes on top.
    size = abs(float(found.vertex_maximum)) + abs(float(found.vertex_minimum))
    return 2 * float(found.extreme_error + found.quantile_error.max()) + 1e-12 * size


@given(boxes, functionals, st.floats(-3, 3).filter(lambda f: abs(f) > 0.01), st.floats(-10, 10))
@settings(max_examples=60, deadline=None)
def test_affine_equivariance(post: FakePosterior, g: list[int], factor: float, shift: float) -> None:
    rows = np.array(g, dtype=float)
    plain = envelope(post, rows, 50)
    moved = envelope(post, factor * rows, 50, baseline=shift)
    tolerance = numerical_error(plain) * abs(factor) + numerical_error(moved)
    low, high = (plain.expected_minimum, plain.expected_maximum)[:: 1 if factor > 0 else -1]
    assert abs(moved.expected_minimum - (factor * low + shift)) <= tolerance
    assert abs(moved.expected_maximum - (factor * high + shift)) <= tolerance
    quantiles = factor * plain.quantiles + shift
    assert np.abs(moved.quantiles - (quantiles if factor > 0 else quantiles[::-1])).max() <= tolerance
    assert moved.std == pytest.approx(abs(factor) * plain.std)


@given(boxes, functionals, st.integers(1, 10**7), st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_order_and_symmetry(post: FakePosterior, g: list[int], members: int, levels: list[float]) -> None:
    found = envelope(post, g, members, probabilities=sorted(levels))
    tolerance = numerical_error(found)
    assert (np.diff(found.quantiles) >= -tolerance).all()
    assert found.vertex_minimum - tolerance <= found.expected_minimum <= found.mean + tolerance
    assert found.mean - tolerance <= found.expected_maximum <= found.vertex_maximum + tolerance
    assert (found.quantiles <= found.vertex_maximum + tolerance).all()
    assert (found.quantiles >= found.vertex_minimum - tolerance).all()
    # A sum of uniform variables is symmetric about its mean, wherever the box sits around the minimiser.
    mirrored = envelope(post, g, members, probabilities=[1 - p for p in sorted(levels)])
    allowed = tolerance + numerical_error(mirrored)
    assert np.abs(found.quantiles + mirrored.quantiles - 2 * found.mean).max() <= allowed
    assert found.expected_minimum + found.expected_maximum == pytest.approx(2 * found.mean, abs=tolerance)


@given(boxes, functionals, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_axes_is_irrelevant(post: FakePosterior, g: list[int], random) -> None:
    order = list(range(len(post.box.low)))
    random.shuffle(order)
    box = FakeBox(post.box.axes[:, order], post.box.low[order], post.box.high[order])
    a, b = envelope(post, g), envelope(FakePosterior(post.mle, box, post.scale), g)
    assert np.abs(a.quantiles - b.quantiles).max() <= numerical_error(a)
    assert abs(a.expected_maximum - b.expected_maximum) <= numerical_error(a)


@given(boxes, st.lists(functionals, min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_many_functionals_are_as_one_by_one(post: FakePosterior, rows: list[list[int]]) -> None:
    together = envelope(post, rows)
    for i, row in enumerate(rows):
        alone = envelope(post, row)
        assert np.shape(alone.mean) == ()
        assert np.abs(together.quantiles[i] - alone.quantiles).max() <= numerical_error(alone)
        assert abs(together.expected_minimum[i] - alone.expected_minimum) <= numerical_error(alone)


def test_a_functional_that_the_box_leaves_alone_is_a_point() -> None:
    post = FakePosterior(
        np.array([3.0, 1.0]), FakeBox(np.array([[0.0], [1.0]]), np.array([-1.0]), np.array([2.0]))
    )
    found = envelope(post, [[1.0, 0.0], [0.0, 1.0]])
    assert found.mean[0] == found.expected_minimum[0] == found.vertex_maximum[0] == 3.0
    assert (found.quantiles[0] == 3.0).all()
    assert found.std[0] == 0.0 < found.std[1]
    # Conditioning on what cannot change changes nothing: the mean of the box.
    assert np.allclose(conditional_mean(post, [1.0, 0.0], 3.0), [3.0, 1.5])
    with pytest.raises(InputError, match="no point of the box"):
        conditional_mean(post, [1.0, 0.0], 3.1)


def test_a_box_without_axes_is_a_point() -> None:
    post = FakePosterior(np.ones(2), FakeBox(np.empty((2, 0)), np.empty(0), np.empty(0)))
    found = envelope(post, [1.0, 2.0])
    assert found.expected_maximum == found.vertex_minimum == found.mle == 3.0
    assert np.array_equal(conditional_mean(post, [1.0, 2.0], 3.0), np.ones(2))


@given(st.floats(-500, 500))
def test_langevin_against_quadrature(x: float) -> None:
    # Shifted by exp(-|x|), so that nothing overflows; the weight lies within 40 / |x| of the end, where a
    # Gauss rule of 60 nodes is exact to rounding.
    at, weight = np.polynomial.legendre.leggauss(60)
    half = min(1.0, 20.0 / max(abs(x), 1e-9))
    v = 1.0 - half + half * at
    density = weight * np.exp(abs(x) * (v - 1.0))
    mean = math.copysign((density @ v) / density.sum(), x) if x else 0.0
    assert langevin(np.array([x]))[0] == pytest.approx(mean, abs=1e-13)


def test_langevin_limits() -> None:
    # Where series and closed form meet, and where it saturates.
    assert langevin(np.array([0.0, 1e-200, 1e300])).tolist() == pytest.approx([0.0, 1e-200 / 3, 1.0])
    below, above = langevin(np.array([0.1 * (1 - 1e-15), 0.1]))
    # coth x - 1 / x cancels to 1e-16 / 0.1^2.
    assert below == pytest.approx(above, rel=1e-13)


@given(boxes, functionals, st.floats(-1.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_conditional_mean_meets_the_value_inside_the_box(
    post: FakePosterior, g: list[int], where: float
) -> None:
    rows = np.array(g, dtype=float)
    found = envelope(post, rows)
    value = found.mean + where * (found.vertex_maximum - found.mean)
    theta = conditional_mean(post, rows, value)
    size = abs(found.vertex_maximum) + abs(found.vertex_minimum)
    assert rows @ theta == pytest.approx(float(value), abs=1e-10 * size)
    u = np.linalg.lstsq(post.box.axes, (theta - post.mle) / post.scale, rcond=None)[0]
    if len(u) <= 7:
        assert (u >= post.box.low - 1e-8).all()
        assert (u <= post.box.high + 1e-8).all()


def test_conditional_mean_is_exact_for_equal_terms() -> None:
    # By exchangeability every term carries the same share; a term of no slope stays at its mean.
    theta = conditional_mean(unit_box(6), [2.0, -2.0, 2.0, 2.0, 0.0, -2.0], 7.0)
    assert np.allclose(theta, np.array([1, -1, 1, 1, 0, -1]) * 7.0 / 10.0, rtol=1e-12)


def test_conditional_mean_at_the_mean_and_at_the_vertices() -> None:
    post, g = random_box(4), np.arange(1.0, 8.0)
    found = envelope(post, g)
    middle = post.mle + post.scale * post.box.axes @ (0.5 * (post.box.low + post.box.high))
    assert np.allclose(conditional_mean(post, g, found.mean), middle)
    best = np.where(g @ post.box.axes > 0, post.box.high, post.box.low)
    vertex = post.mle + post.scale * post.box.axes @ best
    assert np.allclose(conditional_mean(post, g, found.vertex_maximum), vertex)
    for beyond in (1 + 1e-9, -1 - 1e-9):
        with pytest.raises(InputError, match="no point of the box"):
            conditional_mean(post, g, found.mean + beyond * (found.vertex_maximum - found.mean))
    # A baseline shifts the value and nothing else.
    shifted = conditional_mean(post, g, found.vertex_maximum + 5.0, baseline=5.0)
    assert np.allclose(shifted, vertex)


# Largest error of tilting along an axis, in standard deviations of that axis, at the expected extreme of
# 500 members: what its documentation says.
TILTING_ERROR = {3: 0.15, 6: 0.15, 15: 0.04, 40: 0.04}


@pytest.mark.parametrize("k", TILTING_ERROR)
@pytest.mark.parametrize("seed", [0, 1])
def test_tilting_error_against_conditional_sampling(k: int, seed: int) -> None:
    terms = np.random.default_rng(seed).normal(size=k)
    value = float(envelope(unit_box(k), terms).expected_maximum)
    tilted = conditional_mean(unit_box(k), terms, value)
    mean, error = conditional_samples(terms, value)
    assert (np.abs(tilted - mean) * math.sqrt(3) < TILTING_ERROR[k] + SIGMAS * math.sqrt(3) * error).all()
    # The check can tell: the mean of the box is far outside of it.
    assert np.abs(mean).max() * math.sqrt(3) > 0.5


def conditional_samples(terms: np.ndarray, value: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the slice terms . v = value of [-1, 1]^k and its error, by Gibbs sampling.

    Pairs of coordinates move uniformly along the chord that keeps the value, in independent chains.
    """
    k, chains, sweeps = len(terms), 2000, 300
    rng = np.random.default_rng(17)
    v = np.tile(np.sign(terms) * value / np.abs(terms).sum(), (chains, 1))
    seen = np.zeros((chains, k))
    for sweep in range(sweeps):
        order = rng.permutation(k)
        for i, j in zip(order[::2], order[1::2], strict=False):
            pair, direction = v[:, [i, j]], np.array([terms[j], -terms[i]])
            ends = np.sort([(-1.0 - pair) / direction, (1.0 - pair) / direction], axis=0)
            low, high = ends[0].max(axis=1), ends[1].min(axis=1)
            v[:, [i, j]] = pair + direction * rng.uniform(low, high)[:, None]
        if sweep >= sweeps // 3:
            seen += v
    assert np.allclose(v @ terms, value)
    means = seen / (sweeps - sweeps // 3)
    return means.mean(axis=0), means.std(axis=0) / math.sqrt(chains)


def test_tilting_error_of_two_terms_in_the_bulk() -> None:
    # Given V_1 + 0.2 V_2 = 0.8, V_2 is uniform on [-1, 1]: the mean of the segment is exact by geometry.
    tilted = conditional_mean(unit_box(2), [1.0, 0.2], 0.8)
    error = np.abs(tilted - [0.8, 0.0]).max() * math.sqrt(3)
    assert 0.40 < error < 0.45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"g": np.ones(3)}, "wrong shape"),
        ({"g": np.ones((2, 2, 7))}, "wrong shape"),
        ({"g": 1.0}, "wrong shape"),
        ({"g": [[1.0] * 7, [1.0] * 6]}, "no array of numbers"),
        ({"g": [*[1.0] * 6, math.nan]}, "not finite"),
        ({"g": np.full(7, 1e308)}, "overflow"),
        ({"members": 0}, "members"),
        ({"members": 10**9}, "members"),
        ({"baseline": [1.0, 2.0]}, "one per functional"),
        ({"baseline": math.inf}, "not finite"),
        ({"probabilities": [0.0]}, "probabilities"),
        ({"probabilities": [math.nan]}, "probabilities"),
        ({"probabilities": 0.5}, "probabilities"),
    ],
)
def test_bad_requests(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        envelope(random_box(1), **{"g": np.ones(7), **arguments})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e3, "no point of the box"),
        (-1e3, "no point"),
        (math.nan, "not finite"),
        ([0.0, 0.0], "one per functional"),
    ],
)
def test_bad_values(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        conditional_mean(random_box(1), np.ones(7), value)


def test_a_posterior_that_is_not_finite() -> None:
    good = random_box(1)
    bad = FakePosterior(good.mle, FakeBox(good.box.axes, good.box.low, good.box.high), math.nan)
    with pytest.raises(InputError, match="not finite"):
        envelope(bad, np.ones(7))
