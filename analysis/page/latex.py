"""The report as a LaTeX document that includes the saved figures and tables."""

from __future__ import annotations

from analysis.page.render import SweepEntry
from analysis.tables.tables import latex_text

_HEAD = r"""\documentclass[11pt]{article}
\usepackage[margin=25mm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\begin{document}
"""


def render_latex(sweep: SweepEntry) -> str:
    """Write a document with the answer, every figure (PDF) and every table (its .tex file).

    Returns
    -------
    str
        LaTeX, to be saved beside figures/ and tables/ and compiled there.
    """
    parts = [_HEAD, rf"\section*{{{latex_text(sweep.manifest.name)}}}", ""]
    parts += [rf"\emph{{{latex_text(sweep.manifest.question)}}}", r"\begin{itemize}"]
    parts += [rf"\item {latex_text(sentence)}" for sentence in sweep.answer]
    parts += [r"\end{itemize}", ""]
    for figure in sweep.figures:
        parts += [
            r"\begin{figure}[htbp]\centering",
            rf"\includegraphics[width=\linewidth,height=0.75\textheight,keepaspectratio]"
            rf"{{figures/{figure.name}.pdf}}",
            rf"\caption{{{latex_text(figure.caption)}}}\label{{fig:{figure.name}}}",
            r"\end{figure}",
            "",
        ]
    parts += [rf"\input{{tables/{table.name}.tex}}" for table in sweep.tables]
    left = [f"{entry.title}: {entry.reason}." for entry in sweep.left_out]
    if left:
        parts += [r"\section*{Left out}", r"\begin{itemize}"]
        parts += [rf"\item {latex_text(text)}" for text in left] + [r"\end{itemize}"]
    hash_, commit = sweep.manifest.sweep_hash, sweep.manifest.commit
    parts += ["", latex_text(f"Sweep hash {hash_}, commit {commit}. {sweep.denominators}")]
    return "\n".join([*parts, r"\end{document}", ""])
