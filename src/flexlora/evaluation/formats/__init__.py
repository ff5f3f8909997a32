"""Files of samples and of verdicts, as the public harnesses write them: one module a format.

`recognise` finds out which format a file is in and gives it as a `SampleFile`; `verdicts.read_verdicts` does the same
for files that hold verdicts already. Imports no torch.
"""

from flexlora.evaluation.formats.recognise import recognise
from flexlora.evaluation.formats.sample_file import SampleFile

__all__ = ["SampleFile", "recognise"]
