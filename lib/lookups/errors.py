"""Every error a reader can meet: what is wrong, and what to do next, in one sentence each."""


class LookupsError(Exception):
    """The parent of all errors raised on purpose; its text is meant for the reader."""


class RunError(LookupsError):
    """A run file is missing, or a key or value in it is wrong or more than the model has."""


class ModelError(LookupsError):
    """A model is missing, unreachable, incomplete or of an architecture that is not supported."""


class CorpusError(LookupsError):
    """A corpus is missing, empty, or not the one that was expected."""


class PublishedError(LookupsError):
    """A file of the authors' released record is missing, cut off, or not what it should hold."""


class MissingStage(LookupsError):
    """A stage that a chapter needs has not been made; the text names the chapter that makes it."""


class StaleStage(LookupsError):
    """A stage was made from parents or settings that have changed; the text names the chapter."""


class StorageError(LookupsError):
    """A table or notebook cannot be written: the disk is full or the folder is closed to us."""


class ChapterError(LookupsError):
    """A chapter stopped before its end; the text says in which cell, why, and where to look."""


class MeasurementError(LookupsError):
    """A quantity is undefined on this input, such as a share of an activation that never rose."""


class ServerError(LookupsError):
    """A language model's server is unreachable, lacks a key or model, or keeps failing."""


class NotConfirmed(LookupsError):
    """Requests would be sent, and perhaps paid for, that nobody has agreed to."""


class DownloadError(LookupsError):
    """A file cannot be fetched, is not the one stated, or a folder holds another revision of it."""
