"""What a caller can mend."""


class Error(ValueError):
    """A wrong option, argument or file. str() says it all; the parts are there one by one, None where there is nothing to say.

    where: the option, argument or file it is about. what: what was wrong. wanted, got: what was expected and what was there. hint: a way out.
    """

    where = what = wanted = got = hint = None

    def __init__(self, text, *, where=None, what=None, wanted=None, got=None, hint=None):
        super().__init__(text)
        self.where, self.what, self.wanted, self.got, self.hint = where, what, wanted, got, hint
