"""Seeds that once failed, and by what: each is run again with every test run.

A seed stands for the same weather only as long as the code takes the same steps; so each fault that
was found is kept as a mutant as well (tests/simulation/mutants.py), which any seed may find.
"""

SEEDS: dict[int, str] = {
    11: "watch: a job without a plan made every look fail",
    12: "two waves that ask for the same shared a job",
    21: "a budget that was used up kept a paid job from being collected",
    171: "a claimer that was frozen before its hold took its claim for fresh",
    296: "a hold that was smaller than the bill",
    326: "a job that waits for another's was claimed and given back a hundred times",
    350: "a wave held another wave's money",
    1021: "a clock that was set forward made another machine's call look dead",
    200402: "a slow claimer held the money of a job that was settled meanwhile",
    504591: "the auditor took a refusal that nobody could hear for one that was heard",
    702573: "the auditor took a refusal that only a second job brought for one heard in time",
    700821: "a wave that had more to pay for was taken for ended",
    701768: "a claimer that was frozen gave back the hold of who had taken its job over",
    811012: "the auditor took a frozen claimer's documented remain for a fault",
    812915: "the auditor wanted to know which of two lines was billed, and only counts tell",
    2485: "a refusal was counted as the answer that a file lacked",
}
