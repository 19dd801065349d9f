"""The book's page on speed shows what the benchmarks measured, and nothing else."""

from benchmarks.page import PAGE, RESULTS, blocks, page_with, rows_of


def test_the_page_and_the_results_are_in_step():
    page, made = PAGE.read_text("utf-8"), blocks(rows_of(RESULTS.read_text("utf-8")))
    assert page_with(page, made) == page, "run benchmarks/page.py, which writes the page anew"


def test_every_measured_row_that_the_page_is_about_stands_on_it():
    ours = rows_of(RESULTS.read_text("utf-8"))
    page = PAGE.read_text("utf-8")
    changed = [row._replace(fast="77.7", naive="666.6", ratio="8.5") for row in ours]
    for row in ours:
        if row.measured.split(",")[0].split()[0] not in ("chapters", "matrix"):
            assert page_with(page, blocks([r for r in ours if r != row])) != page, row
    assert page_with(page, blocks(changed)) != page


def test_a_plan_follows_from_a_measured_rate():
    row = (
        "| scan beside the plain pass, all layers | 2-core CPU | m | 256 texts, 30 layers of 100.0 "
        "million weights | 9.0 | 10.0 | 0.90 | 1000 and 900 tokens a second |"
    )
    made = blocks(rows_of(f"| measured |\n| --- |\n{row}\n"))
    # 1,000 tokens of 100 million weights are 11.25 of 8 billion once nine tenths are left
    assert "| 2-core CPU, measured | 200 billion | 0.90 | 11 | 29 million |" in made["plan"]
    assert "| SmolLM2-135M, 2-core CPU | 1,000 | 900 | 0.90 | 0.9 |" in made["plain"]
    assert "not measured" in made["steps"]
