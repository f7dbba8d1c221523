"""What a person did wrong, said in one sentence."""


class Mistake(Exception):
    """A wrong input: the message names the key or file, what was got and what was wanted.

    The program prints it, without a traceback, and exits with status 2.
    """
