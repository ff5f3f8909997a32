"""Frequencies and multiplicities of the real FFT."""

import pytest
import torch

from flexlora.fourier import frequencies, multiplicity


@pytest.mark.parametrize("n", [7, 8])
def test_parseval_holds_with_multiplicities(n: int) -> None:
    w = torch.randn(n, dtype=torch.float64)
    spectrum = torch.fft.rfft(w, norm="ortho").abs().square()
    torch.testing.assert_close((multiplicity(n) * spectrum).sum(), w.square().sum())


def test_frequencies_run_from_zero_to_nyquist() -> None:
    assert frequencies(8).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert frequencies(5).tolist() == pytest.approx([0, 0.4, 0.8])
    with pytest.raises(ValueError, match="length 0"):
        frequencies(0)
