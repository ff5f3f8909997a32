"""How likely a model finds held-out texts: the cross-lingual score that needs no execution.

    from flexlora.likelihood import measure

    for one in measure(model, tokenizer, texts):        # texts of flexlora.data.texts.load_texts
        print(one.task_id, one.nll / one.tokens)        # nats a token, of each text

`flexlora.evaluation.likelihood` makes scores with intervals and paired comparisons of the values.
"""

from flexlora.likelihood.stage import likelihood_files, measure_texts
from flexlora.likelihood.teacher_forced import Measured, measure

__all__ = ["Measured", "likelihood_files", "measure", "measure_texts"]
