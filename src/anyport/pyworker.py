"""The program that answers for a model of form python in an interpreter of its own; run as a script, by path.

Frames come in on stdin and go out on stdout: first what to load (JSON), answered by {} or an error; then batches,
each answered by an outcome. Whatever the model prints goes to stderr.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # print() in a model must not end up between the frames
    sys.stdout = sys.stderr
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    import msgspec

    from anyport.errors import AnyportError
    from anyport.frames import answering, receive, send

    questions = sys.stdin.buffer
    task = receive(questions)
    if task is None:
        return
    try:
        from anyport.pyform import Task, opened

        predictor = opened(msgspec.json.decode(task, type=Task))
    except AnyportError as error:
        send(answers, msgspec.json.encode(error.as_dict()))
        return
    except ModuleNotFoundError as error:
        missing = {"error": "Missing", "what": f"the locked environment lacks {error.name}", "fix": ""}
        send(answers, msgspec.json.encode(missing))
        return
    send(answers, b"{}")
    answering(predictor, predictor.signature, questions, answers)


if __name__ == "__main__":
    main()
