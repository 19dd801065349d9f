"""The book's page on speed shows what the benchmarks measured, and nothing else."""

from benchmarks.page import PAGE, RESULTS, blocks, page_with, rows_of


def test_the_page_and_the_results_are_in_step():
    page, ours = PAGE.read_text("utf-8"), rows_of(RESULTS.read_text("utf-8"))
    assert page_with(page, blocks(ours)) == page, "benchmarks/page.py writes the page anew"
    for row in ours:
        if not row.measured.startswith("chapters, "):
            assert page_with(page, blocks([one for one in ours if one != row])) != page, row


def test_a_plan_follows_from_a_measured_rate():
    row = (
        "| scan beside the plain pass, all layers | 2-core CPU | m | 256 texts, 30 layers of 100.0 "
        "million weights | 9.0 | 10.0 | 0.90 | 1000 and 900 tokens a second |"
    )
    made = blocks(rows_of(f"| measured |\n| --- |\n{row}\n"))
    # 1,000 tokens of 100 million weights are 12.5 of 8 billion, of which nine tenths are left
    assert "| 2-core CPU, measured | 200 billion | 0.90 | 11 | 29 million |" in made["plan"]
    assert "| SmolLM2-135M, 2-core CPU | 1,000 | 900 | 0.90 | 0.9 |" in made["plain"]
    assert "not measured" in made["steps"]
