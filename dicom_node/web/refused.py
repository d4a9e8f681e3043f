"""A request of a browser that is answered with a sentence instead of what it asked for."""

REQUEST_TIMEOUT = 408  # RFC 9110 15.5.9: the connection is closed


class PageRefused(Exception):
    """status: of HTTP. sentence: for the person, why and what to do; it names no patient. study_id: where to go on."""

    def __init__(self, status: int, sentence: str, study_id: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.study_id = study_id


class LoginWanted(Exception):
    """Nobody is logged in by this request's cookie, or not any more."""
