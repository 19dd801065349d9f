"""Cleaning, held against documentation written by hand in the styles that the packages use."""

import pytest
from lookups.layout import blocks
from lookups.prose import fault, plain, words

NUMPY_STYLE = """Return the largest element along an axis.

    The input is read once, and no copy of it
    is made.

    Parameters
    ----------
    a : array_like
        The values among which to look
        for the largest.
    axis : int or None, optional
        The axis along which to look, or None for all of them.

    Returns
    -------
    out : ndarray
        An array with one element fewer along the axis.

    See Also
    --------
    argmax : The index of the largest element, which we never want here.

    Notes
    -----
    Infinite values are compared like any other value.

    References
    ----------
    .. [1] A. Author, "A paper that nobody wants to see here in a corpus of prose."

    Examples
    --------
    The largest of three values is found like this:

    >>> largest([1, 2, 3])
    3
    """

GOOGLE_STYLE = """Open a file for reading.

Args:
    path (`str` or `Path`, *optional*, defaults to `None`):
        Where the file lies on the disk.
    mode (str): How the file is opened, which decides what may
        be done with it.

Returns:
    A handle that must be closed by the caller.
"""

SPHINX_STYLE = """Send a message to :class:`~package.Server` and wait for its answer.

:param message: the text that is sent to the server
:type message: a type that nobody wants to read about in prose
:returns: whatever the server says in its answer

.. note:: The server may take a long time for this.
   It is better not to wait.

.. code-block:: python

    this = is_code(and_not, prose)

It is used as follows::

    import package

.. versionchanged:: 1.2
   The message may be empty.
"""


def cleaned(text: str) -> list[str]:
    return [plain(block) for block in blocks(text)]


def kept(text: str) -> list[str]:
    return [p for p in cleaned(text) if fault(p, words(p)) is None]


def test_numpy_style_leaves_descriptions_and_drops_names_doctests_and_references():
    assert cleaned(NUMPY_STYLE) == [
        "Return the largest element along an axis.",
        "The input is read once, and no copy of it is made.",
        "The values among which to look for the largest.",
        "The axis along which to look, or None for all of them.",
        "An array with one element fewer along the axis.",
        "Infinite values are compared like any other value.",
        "The largest of three values is found like this:",
    ]


def test_google_style_leaves_descriptions_without_names_and_types():
    assert cleaned(GOOGLE_STYLE) == [
        "Open a file for reading.",
        "Where the file lies on the disk.",
        "How the file is opened, which decides what may be done with it.",
        "A handle that must be closed by the caller.",
    ]


def test_sphinx_style_leaves_fields_and_notes_and_drops_code():
    assert cleaned(SPHINX_STYLE) == [
        "Send a message to Server and wait for its answer.",
        "The text that is sent to the server",
        "Whatever the server says in its answer",
        "The server may take a long time for this. It is better not to wait.",
        "It is used as follows:",
        "The message may be empty.",
    ]


@pytest.mark.parametrize(
    "laid_out",
    [
        "=====  =====\nA      not A\n=====  =====\nFalse  True\nTrue   False\n=====  =====",
        "+-----+-----+\n| one | two |\n+-----+-----+",
        "| one | two |\n|-----|-----|",
        "first column     second column     third column",
        "```python\nthis is code in a fence and it is not prose\n```",
        "$ a command that is typed into a shell",
        "In [1]: a cell of a session\nOut[1]: what it said",
    ],
)
def test_tables_fences_and_sessions_leave_nothing(laid_out):
    assert kept(
        f"The text before is kept as it was.\n\n{laid_out}\n\nSo is the text that follows."
    ) == [
        "The text before is kept as it was.",
        "So is the text that follows.",
    ]


def test_items_of_a_list_are_paragraphs_with_their_continuations():
    text = (
        "There are two ways of doing this:\n\n- the first way, which\n  is slow\n- the second way\n"
    )
    assert cleaned(text) == [
        "There are two ways of doing this:",
        "The first way, which is slow",
        "The second way",
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("See :func:`numpy.sum` for it.", "See numpy.sum for it."),
        ("See :func:`~numpy.sum` for it.", "See sum for it."),
        ("See :ref:`the guide <guide>` for it.", "See the guide for it."),
        ("See `the guide <https://a.b/c>`_ for it.", "See the guide for it."),
        ("See [the guide](https://a.b/c) for it.", "See the guide for it."),
        ("It is *really* **very** ``good``.", "It is really very good."),
        ("It was shown before [1]_.", "It was shown before."),
        ("A “quoted” word — and more…", 'A "quoted" word - and more...'),
        ("TODO(someone): this should be faster", "This should be faster"),
        ("X is a matrix and XXX is not", "X is a matrix and XXX is not"),
        ("XXX: this should be faster", "This should be faster"),
        ("the name a_b stays, x_ does too", "The name a_b stays, x does too"),
        ("_private is a name and keeps its case", "_private is a name and keeps its case"),
    ],
)
def test_inline_markup_is_taken_off(written, read):
    assert plain(written) == read


@pytest.mark.parametrize(
    ("paragraph", "reason"),
    [
        ("Return the value.", "short"),
        ("Return the value as it was", "short"),
        ("Licensed under the terms of a licence that you may read.", "legal or generated"),
        ("This file was automatically generated from that one.", "legal or generated"),
        ("See https://example.org for all that is known about it.", "address or citation"),
        ("For a proof of this see [1]_ and also the book.", "address or citation"),
        ("[1]_ says more about all this.", "address or citation"),
        ("x = f(y) if z[0] is None else g(z) or the_value", "code or symbols"),
        ("Estou está estamos estão estive esteve estivemos.", "foreign letters"),
        ("Estou estamos estive esteve estivemos estiveram estava.", "not a sentence"),
        ("and so it is the same as in the one above,", "cut off"),
        ("This is (as far as we know all that there is.", "cut off"),
        ("THIS IS A VERY LOUD SENTENCE THAT NOBODY WANTS TO READ.", "names"),
    ],
)
def test_a_fault_is_named(paragraph, reason):
    read = plain(paragraph)
    assert fault(read, words(read)) == reason


def test_english_has_no_fault():
    for paragraph in (
        "Return a copy of the array with the axes in another order.",
        "we sort here because the order of the index is not known",
        "If the key is not in the table (see above), a KeyError is raised.",
    ):
        assert fault(paragraph, words(paragraph)) is None
