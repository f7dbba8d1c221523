"""What went wrong, said in one sentence: by a person (status 2), or in the run (status 1)."""


class Mistake(Exception):
    """A wrong input: the message names the key or file, what was got and what was wanted.

    The program prints it, without a traceback, and exits with status 2.
    """


class Failure(Exception):
    """The run cannot go on, and no input was wrong: it diverged, or a disk is full.

    The program prints the sentence, without a traceback, and exits with status 1.
    """
