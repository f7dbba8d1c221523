"""The process of a trial for `batch.per_device: auto`: ends with the one that asked, and answers in one line of JSON.

    python -m trainer.lifecycle.trial_process PARENT <request

No torch before the watch over the parent: the imports take seconds, in which it may end.
"""

import base64
import json
import os
import pickle
import sys
import time
from threading import Thread
from typing import Any


def main() -> None:
    """Answer the request from stdin: `size`, or `mistakes`, a sentence each, or `error`, what went wrong."""
    Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever others print is no answer
    answer.write(json.dumps(answered(base64.b64decode(sys.stdin.buffer.read()))))
    answer.flush()
    os._exit(0)


def answered(request: bytes) -> dict[str, Any]:
    """The answer to a pickled request, the arguments of `trial_steps.largest`."""
    from trainer.lifecycle.trial_steps import largest
    from trainer.mistakes import Mistake, sentences_of

    try:
        return {"size": largest(*pickle.loads(request))}
    except Mistake as mistake:
        return {"mistakes": sentences_of(mistake)}
    except Exception as error:  # any class: the asker tells it
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def end_with(parent: int) -> None:
    """End this process once its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
