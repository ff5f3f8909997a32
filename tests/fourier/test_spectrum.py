"""Spectra against independent references: explicit DFT sums, fft2 of the explicit product, noise that was drawn."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexlora.fourier import (
    SpectrumOptions,
    Weighting,
    adapter_spectrum,
    delta_penalty,
    delta_spectrum,
    vectors_penalty,
    vectors_spectrum,
)
from flexlora.fourier.adapter_spectrum import pair_spectrum

TAUS = (0.0, 0.3, 0.5, 0.75, 1.0)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def band_of(k: int, n: int, bands: int) -> int:
    """The band of the DFT index k of n in whole numbers: (i / bands, (i + 1) / bands], the first with 0."""
    folded = 2 * min(k, n - k)  # f = folded / n
    return max(0, -(-folded * bands // n) - 1)


@dataclass
class Reference:
    """Sums over the full DFT, bin by bin."""

    bands: list[float]
    high: float
    moment: float
    directions: list[int]


def of_vector(w: list[float], options: SpectrumOptions) -> Reference:
    n = len(w)
    found = Reference([0.0] * options.bands, 0.0, 0.0, [0] * options.bands)
    for k in range(n):
        real = sum(x * math.cos(2 * math.pi * k * i / n) for i, x in enumerate(w)) / math.sqrt(n)
        imaginary = sum(x * math.sin(2 * math.pi * k * i / n) for i, x in enumerate(w)) / math.sqrt(n)
        energy, f = real**2 + imaginary**2, 2 * min(k, n - k) / n
        found.bands[band_of(k, n, options.bands)] += energy
        found.directions[band_of(k, n, options.bands)] += 1
        found.moment += f * energy
        found.high += energy if f > options.tau else 0
    return found


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 33),
    vectors=st.integers(1, 3),
    tau=st.sampled_from(TAUS),
    bands=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_a_vectors_spectrum_equals_the_explicit_sums(n: int, vectors: int, tau: float, bands: int, seed: int) -> None:
    w = normal(vectors, n, seed=seed)
    options = SpectrumOptions(tau=tau, bands=bands)
    found = vectors_spectrum(w, options)
    expected = [of_vector(row, options) for row in w.tolist()]
    for i in range(bands):
        assert found.bands[i] == pytest.approx(sum(one.bands[i] for one in expected), abs=1e-11)
        assert found.directions[i] == sum(one.directions[i] for one in expected)
    assert found.high == pytest.approx(sum(one.high for one in expected), abs=1e-11)
    assert found.moment == pytest.approx(sum(one.moment for one in expected), abs=1e-11)
    assert found.energy == pytest.approx(w.square().sum().item(), rel=1e-12)  # Parseval
    assert sum(found.noise) == pytest.approx(1)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 21),
    m=st.integers(1, 21),
    rank=st.integers(1, 4),
    tau=st.sampled_from(TAUS),
    bands=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_delta_equals_fft2_of_the_explicit_product(
    n: int, m: int, rank: int, tau: float, bands: int, seed: int
) -> None:
    A, B, scaling = normal(rank, n, seed=seed), normal(m, rank, seed=seed + 1), 1.7
    options = SpectrumOptions(view="delta", tau=tau, bands=bands)
    found = delta_spectrum(A, B, scaling, options)
    power = torch.fft.fft2(scaling * B @ A, norm="ortho").abs().square()
    cells = torch.zeros(bands, bands, dtype=torch.float64)
    counts = torch.zeros(bands, bands, dtype=torch.float64)
    larger, number = [0.0] * bands, [0] * bands
    high = moment = directions_high = directions_moment = 0.0
    for u in range(m):
        for v in range(n):
            i, j, energy = band_of(u, m, bands), band_of(v, n, bands), power[u, v].item()
            f = max(2 * min(u, m - u) / m, 2 * min(v, n - v) / n)
            cells[i, j] += energy
            counts[i, j] += 1
            larger[max(i, j)] += energy
            number[max(i, j)] += 1
            moment += f * energy
            directions_moment += f
            high += energy if f > tau else 0
            directions_high += f > tau
    close = {"rel": 1e-9, "abs": 1e-9}
    torch.testing.assert_close(torch.tensor(found.cells, dtype=torch.float64), cells, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.tensor(found.cell_directions, dtype=torch.float64), counts)
    assert found.bands == pytest.approx(larger, **close)
    assert found.directions == pytest.approx(number)
    assert found.high == pytest.approx(high, **close)
    assert found.moment == pytest.approx(moment, **close)
    assert found.directions_high == pytest.approx(directions_high)
    assert found.directions_moment == pytest.approx(directions_moment)
    assert found.energy == pytest.approx((scaling * B @ A).square().sum().item(), rel=1e-9)


def test_the_centroid_does_not_depend_on_how_frequencies_are_cut_into_chunks() -> None:
    # At rank 300 a chunk holds 23 of the 81 frequencies of lengths 80 and 79; at rank 1 it holds all.
    A, B = normal(300, 80), normal(79, 300, seed=1)
    power = torch.fft.fft2(B @ A, norm="ortho").abs().square()
    f_n, f_m = (torch.arange(size).minimum(size - torch.arange(size)) * 2 / size for size in (80, 79))
    expected = (torch.maximum(f_m[:, None], f_n) * power).sum() / power.sum()
    assert delta_spectrum(A, B, 1.0, SpectrumOptions(view="delta")).centroid == pytest.approx(expected.item())


@pytest.mark.parametrize("tau", TAUS)
def test_the_energy_above_tau_is_what_the_penaltys_step_penalises(tau: float) -> None:
    A, B = normal(4, 40), normal(24, 4, seed=1)
    step = Weighting(tau=tau)
    found = pair_spectrum(A, B, 2.0, SpectrumOptions(tau=tau))
    assert found["A"].high == pytest.approx(vectors_penalty(A.reshape(1, -1), step.g(160))[0].item(), abs=1e-12)
    delta = delta_spectrum(A, B, 2.0, SpectrumOptions(view="delta", tau=tau))
    penalty = delta_penalty(A[None], B[None], torch.tensor([2.0], dtype=torch.float64), step.h(40), step.h(24))
    assert delta.high == pytest.approx(penalty.value.item(), abs=1e-9)


def test_a_band_that_ends_at_tau_agrees_with_the_share_above_it() -> None:
    A, B = normal(3, 60), normal(44, 3, seed=1)
    for view in ("factors", "rows", "delta"):
        for spectrum in pair_spectrum(A, B, 1.0, SpectrumOptions(view=view, tau=0.3, bands=10)).values():  # type: ignore[arg-type]
            assert spectrum.high == pytest.approx(sum(spectrum.bands[3:]), rel=1e-9)
            assert spectrum.directions_high == pytest.approx(sum(spectrum.directions[3:]))


def test_views_transform_what_they_say() -> None:
    n, m = 32, 24
    wave_n = torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / 2)  # f = 0.5
    flat_m = torch.ones(m, dtype=torch.float64)
    # A: the wave along the inputs in every row. B: constant along the outputs, of opposite signs over the rank.
    A, B = torch.stack([wave_n, wave_n]), torch.stack([flat_m, -flat_m], dim=1)

    def centroids(**options: object) -> dict[str, float | None]:
        found = pair_spectrum(A, B, 1.0, SpectrumOptions(**options))  # type: ignore[arg-type]
        return {factor: spectrum.centroid for factor, spectrum in found.items()}

    assert centroids(view="rows") == pytest.approx({"A": 0.5, "B": 0.0}, abs=1e-12)
    # vec(B) by rows runs fastest over the rank: + - + - is Nyquist. By columns it is one slow square wave.
    assert centroids(view="factors")["B"] == pytest.approx(1)
    assert centroids(view="factors", flatten="column")["B"] < 0.2  # type: ignore[operator]
    A[1] = -wave_n  # B A does not vanish then
    assert centroids(view="delta") == pytest.approx({"dW": 0.5}, abs=1e-12)


def test_noise_that_was_drawn_has_the_share_of_the_reference() -> None:
    options = {view: SpectrumOptions(view=view, bands=8, tau=0.4) for view in ("factors", "rows", "delta")}  # type: ignore[arg-type]
    for view, chosen in options.items():
        drawn = None
        for seed in range(200):
            parts = pair_spectrum(normal(4, 40, seed=seed), normal(30, 4, seed=1000 + seed), 1.0, chosen)
            spectrum = next(iter(parts.values()))
            drawn = spectrum if drawn is None else drawn + spectrum
        assert drawn is not None
        shares = [band / drawn.energy for band in drawn.bands]
        assert shares == pytest.approx(drawn.noise, abs=0.02), view
        assert drawn.relative == pytest.approx([1.0] * 8, abs=0.15), view
        assert drawn.high_share == pytest.approx(drawn.noise_high_share, abs=0.02), view
        assert drawn.centroid == pytest.approx(drawn.noise_centroid, abs=0.02), view
    assert drawn is not None
    assert sum(drawn.noise[4:]) == pytest.approx(0.75, abs=0.05)  # three quarters of the directions are above a half


def test_descending_the_penalty_shifts_energy_downwards_and_shrinkage_only_lessens_it() -> None:
    A = normal(1, 64)
    options = SpectrumOptions()
    before = vectors_spectrum(A, options)
    _, gradient = vectors_penalty(A, Weighting(tau=0.5).g(64))
    penalised, shrunk = vectors_spectrum(A - 0.25 * gradient, options), vectors_spectrum(0.5 * A, options)
    assert penalised.high == pytest.approx(before.high / 4)  # halved in amplitude
    assert penalised.bands[:8] == pytest.approx(before.bands[:8])
    assert penalised.centroid < before.centroid  # type: ignore[operator]
    assert shrunk.energy == pytest.approx(before.energy / 4)
    assert shrunk.high_share == pytest.approx(before.high_share)
    assert shrunk.centroid == pytest.approx(before.centroid)


def test_zeros_have_no_share_and_no_centroid() -> None:
    for view in ("factors", "delta"):
        parts = pair_spectrum(normal(2, 8), torch.zeros(6, 2), 1.0, SpectrumOptions(view=view))  # type: ignore[arg-type]
        spectrum = parts["dW" if view == "delta" else "B"]
        assert (spectrum.energy, spectrum.high_share, spectrum.centroid) == (0, 0, None)
        assert spectrum.relative == (None,) * 16
        assert spectrum.noise_high_share > 0


def test_an_adapters_total_and_kinds_are_sums_over_its_modules() -> None:
    @dataclass
    class Pair:
        module: str
        A: torch.Tensor
        B: torch.Tensor
        scaling: float = 2.0

    pairs = [
        Pair(f"layers.{i}.mlp.{kind}", normal(2, 12, seed=i).bfloat16(), normal(10, 2, seed=9 + i))
        for i in range(2)
        for kind in ("up_proj", "down_proj")
    ]
    found = adapter_spectrum(pairs, SpectrumOptions(view="delta", bands=4))
    assert list(found.modules) == [pair.module for pair in pairs]
    energies = {pair.module: (2.0 * pair.B.double() @ pair.A.double()).square().sum().item() for pair in pairs}
    assert found.total()["dW"].energy == pytest.approx(sum(energies.values()))
    up = sum(energy for name, energy in energies.items() if name.endswith("up_proj"))
    assert found.kinds()["up_proj"]["dW"].energy == pytest.approx(up)
    assert found.total()["dW"].noise == pytest.approx(found.modules[pairs[0].module]["dW"].noise)
    assert sum(map(sum, found.total()["dW"].cells)) == pytest.approx(sum(energies.values()))
    with pytest.raises(ValueError, match="several adapters"):
        adapter_spectrum([pairs[0], pairs[0]], SpectrumOptions())
    with pytest.raises(ValueError, match="no LoRA factors"):
        adapter_spectrum([], SpectrumOptions())


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"view": "merged"}, "'merged' is not known; there is factors, rows, delta"),
        ({"tau": 1.5}, "got 1.5"),
        ({"tau": math.nan}, "got nan"),
        ({"bands": 0}, "got 0"),
        ({"flatten": "column", "view": "delta"}, "flattens nothing"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        SpectrumOptions(**options)  # type: ignore[arg-type]
