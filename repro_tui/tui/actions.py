"""THE key table: every key of the terminal UI, what it does, where, and in which words.

Bindings, footer, help, command palette and the table in docs/tui.md are all made from it; no key is bound anywhere
else. A user's settings.toml gives other keys by `id`. Only keys that every terminal can send: none of ctrl+m, ctrl+h,
ctrl+s, ctrl+q, ctrl+b.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding

NAMES = {
    "slash": "/",
    "ampersand": "&",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "escape": "esc",
    "space": "space",
    "full_stop": ".",
}
"""How keys are written for people, where Textual's name is another."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: `keys` as Textual names them, comma-separated; `screens` where it can be done ("app": on all).

    `label` stands in the footer and the palette, `help` is a sentence. `group` is the part of the screen it is about.
    `method` is the Textual action, the last part of the id where it is not given. `footer` False: help and palette
    only. `palette` False: it makes no sense without a key.
    """

    id: str
    keys: str
    label: str
    help: str
    screens: tuple[str, ...]
    group: str
    method: str = ""
    footer: bool = False
    palette: bool = True
    priority: bool = False

    @property
    def action(self) -> str:
        """Return the Textual action."""
        return self.method or self.id.rpartition(".")[2].replace("-", "_")


def spelled(keys: str) -> str:
    """Return keys as people write them."""
    return " ".join(NAMES.get(key, key) for key in keys.split(","))


ANYWHERE = ("app",)
RUN = ("run",)
HOME = ("home",)
PLAN = ("plan",)
VERDICT = ("verdict",)
COMPARE = ("compare",)

ACTIONS: tuple[Action, ...] = (
    # --- everywhere ---------------------------------------------------------------------------------------------------
    Action("app.help", "question_mark,f1", "Help", "Show what every key does here, the focused part first.",
           ANYWHERE, "Everywhere", footer=True),
    Action("app.palette", "ctrl+p", "Palette", "Find a command by typing a part of its name.",
           ANYWHERE, "Everywhere", method="command_palette", footer=True, palette=False, priority=True),
    Action("app.leave", "q,ctrl+c", "Quit", "Leave; a run that is going on goes on, unless you say otherwise.",
           ANYWHERE, "Everywhere", footer=True),
    Action("app.suspend", "ctrl+z", "Suspend", "Put the program to sleep and return to the shell; `fg` wakes it.",
           ANYWHERE, "Everywhere", method="suspend_process", priority=True),
    Action("app.theme", "f2", "Next theme", "Use the next theme, and keep it in the settings.",
           ANYWHERE, "Everywhere", method="next_theme"),
    # --- a run --------------------------------------------------------------------------------------------------------
    Action("run.stages", "1", "Stages", "Go to the stages.", RUN, "Panes", method="pane('stages')"),
    Action("run.log", "2", "Log", "Go to the log.", RUN, "Panes", method="pane('log')"),
    Action("run.metrics", "3", "Metrics", "Go to the charts.", RUN, "Panes", method="pane('metrics')"),
    Action("run.resources", "4", "Resources", "Go to the gauges.", RUN, "Panes", method="pane('resources')"),
    Action("run.checks", "5", "Checks", "Go to the checks.", RUN, "Panes", method="pane('checks')"),
    Action("run.seeds", "6", "Seeds", "Go to the seeds of a series; Enter opens the run of one.", RUN, "Panes"),
    Action("run.zoom", "z", "Zoom", "Give the whole screen to the focused part, or take it back.",
           RUN, "Panes", footer=True),
    Action("run.back", "escape", "Back", "Undo the zoom, or leave this screen; the run goes on.", RUN, "Run"),
    Action("run.cancel", "x", "Cancel", "Ask the run to stop; what it has made so far is kept.", RUN, "Run",
           footer=True),
    Action("run.rerun", "r", "Rerun", "Start the same run again, with the same options.", RUN, "Run", footer=True),
    Action("run.verdict", "o", "Verdict", "Show how the run ended, check by check.", RUN, "Run", footer=True),
    Action("run.error", "e", "First error", "Go to the first error: of the stage that failed, else of this log.",
           RUN, "Run"),
    Action("log.find", "slash", "Find", "Find a text or /expression/ in the log.", RUN, "Log", footer=True),
    Action("log.next", "n", "Next", "Go to the next place found.", RUN, "Log"),
    Action("log.previous", "N", "Previous", "Go to the place found before.", RUN, "Log"),
    Action("log.filter", "ampersand", "Filter", "Show only lines with a text or /expression/; empty shows all.",
           RUN, "Log"),
    Action("log.follow", "f", "Follow", "Follow the end of the log, or stand still; scrolling up stands still too.",
           RUN, "Log", footer=True),
    Action("log.top", "g", "Top", "Go to the first line of the log.", RUN, "Log"),
    Action("log.bottom", "G", "Bottom", "Go to the last line of the log.", RUN, "Log"),
    Action("log.wrap", "w", "Wrap", "Wrap long lines, or cut them off.", RUN, "Log"),
    Action("log.copy", "y", "Copy", "Copy what is shown of the log (why it failed, on a run that has).", RUN, "Log"),
    Action("log.stage-before", "left_square_bracket", "Log before", "Show the log of the stage before.", RUN, "Log",
           method="stage_log(-1)"),
    Action("log.stage-after", "right_square_bracket", "Log after", "Show the log of the stage after.", RUN, "Log",
           method="stage_log(1)"),
    Action("chart.metric", "m", "Next metric", "Draw the next metric.", RUN, "Metrics", method="next_metric"),
    Action("chart.log-y", "l", "Log scale", "Draw on a logarithmic scale, or not.", RUN, "Metrics", method="log_scale"),
    # --- home ---------------------------------------------------------------------------------------------------------
    Action("home.open", "enter", "Open", "Open the manifest as a plan, or the run as it is or as it ended.",
           HOME, "Manifests and runs", method="open_chosen", footer=True),
    Action("home.path", "o", "Open path", "Open a manifest, a bundle, a folder or a run directory by its path.",
           HOME, "Manifests and runs", method="ask_path", footer=True),
    Action("home.new", "n", "New", "Write a manifest from a template: choose one, and answer its questions.",
           HOME, "Manifests and runs", footer=True),
    Action("home.compare", "c", "Compare", "Mark a run; on another run, put the two side by side.",
           HOME, "Manifests and runs", footer=True),
    Action("home.doctor", "d", "Doctor", "See what this machine can run, and what to do where it cannot.",
           HOME, "Manifests and runs", footer=True),
    Action("home.refresh", "f5", "Look again", "Read all manifests again; runs are looked at every two seconds anyway.",
           HOME, "Manifests and runs"),
    Action("home.back", "escape", "Back", "Close the path field, take the mark away, or leave this screen.",
           HOME, "Manifests and runs"),
    # --- plan ---------------------------------------------------------------------------------------------------------
    Action("plan.start", "enter", "Start", "Start the run; it goes on whatever becomes of this program.",
           PLAN, "Plan", footer=True),
    Action("plan.engine", "e", "Engine", "Use the next engine: chosen by itself, docker, podman, embedded.",
           PLAN, "Plan", method="next_engine", footer=True),
    Action("plan.seed", "s", "Seed", "Give another seed than the manifest's; empty takes the manifest's again.",
           PLAN, "Plan", method="ask_seed", footer=True),
    Action("plan.seeds", "n", "Seeds",
           "Run a series: so many seeds, or those of a list; empty is as the manifest says.",
           PLAN, "Plan", method="ask_seeds", footer=True),
    Action("plan.offline", "f", "Offline", "Use only what is on this host, or go online again.",
           PLAN, "Plan", method="toggle_offline", footer=True),
    Action("plan.refresh", "f5", "Look again", "Read the manifest again, and look at this machine again.",
           PLAN, "Plan", footer=True),
    Action("plan.back", "escape", "Back", "Leave the seed, or this screen.", PLAN, "Plan"),
    # --- verdict ------------------------------------------------------------------------------------------------------
    Action("verdict.report", "o", "Report", "Read the whole report here.", VERDICT, "Verdict", footer=True),
    Action("verdict.copy", "y", "Copy path", "Copy the path of the report to the clipboard.", VERDICT, "Verdict",
           footer=True),
    Action("verdict.log", "l", "Log", "Go to the run's stages and logs.", VERDICT, "Verdict", footer=True),
    Action("verdict.compare", "c", "Compare", "Put the run beside the one before of the same experiment.",
           VERDICT, "Verdict", footer=True),
    Action("verdict.rerun", "r", "Rerun", "Start the same run again, with the same options.", VERDICT, "Verdict",
           footer=True),
    Action("verdict.seeds", "s", "Seeds", "Go to the seeds of a series; Enter shows how that one ended.",
           VERDICT, "Verdict", footer=True),
    Action("verdict.back", "escape", "Back", "Leave this screen.", VERDICT, "Verdict"),
    # --- compare ------------------------------------------------------------------------------------------------------
    Action("compare.differences", "d", "Differences", "Show only what is not the same, or everything.",
           COMPARE, "Compare", footer=True),
    Action("compare.swap", "s", "Swap", "Put the left run to the right, and the right one to the left.",
           COMPARE, "Compare", footer=True),
    Action("compare.before", "left_square_bracket", "Older run", "Take the next older run to the left side.",
           COMPARE, "Compare", method="other(1)"),
    Action("compare.after", "right_square_bracket", "Newer run", "Take the next newer run to the left side.",
           COMPARE, "Compare", method="other(-1)", footer=True),
    Action("compare.metric", "m", "Next metric", "Draw the curves of the next metric.", COMPARE, "Compare",
           method="next_metric", footer=True),
    Action("compare.log-y", "l", "Log scale", "Draw on a logarithmic scale, or not.", COMPARE, "Compare",
           method="log_scale"),
    Action("compare.back", "escape", "Back", "Leave this screen.", COMPARE, "Compare"),
    # --- dialogs ------------------------------------------------------------------------------------------------------
    Action("dialog.close", "escape,q", "Close", "Close, and change nothing.",
           ("help", "confirm", "doctor", "report"), "Dialogs", method="close", footer=True, palette=False),
    Action("prompt.close", "escape", "Close", "Leave everything as it was.", ("find", "template"), "Dialogs",
           method="close", palette=False),
    Action("dialog.next", "right,down", "Next answer", "Go to the next answer.", ("confirm",), "Dialogs",
           method="next_answer", palette=False),
    Action("dialog.previous", "left,up", "Previous answer", "Go to the answer before.", ("confirm",), "Dialogs",
           method="previous_answer", palette=False),
)  # fmt: skip
"""In the order in which help shows them."""


def on(screen: str) -> Iterator[Action]:
    """Yield the actions of a screen, or of "app"."""
    return (action for action in ACTIONS if screen in action.screens)


def bindings(screen: str) -> list[Binding]:
    """Return the bindings of a screen, or of "app"."""
    return [
        Binding(
            action.keys,
            action.action,
            action.label,
            show=action.footer,
            key_display=NAMES.get(action.keys.partition(",")[0]),
            priority=action.priority,
            tooltip=action.help,
            id=action.id,
        )
        for action in on(screen)
    ]


def groups(screen: str, first: str = "") -> list[tuple[str, list[Action]]]:
    """Return what can be done on a screen and everywhere, by group; the group `first` leads."""
    found: dict[str, list[Action]] = {first: []} if first else {}
    for action in (*on(screen), *(on("app") if screen != "app" else ())):
        found.setdefault(action.group, []).append(action)
    return [(name, actions) for name, actions in found.items() if actions]


def markdown() -> str:
    """Return the table for docs/tui.md."""
    rows = ["| Keys | id | Where | What |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {' '.join(f'`{key}`' for key in spelled(action.keys).split())} | `{action.id}` | "
        f"{', '.join('everywhere' if screen == 'app' else screen for screen in action.screens)} | {action.help} |"
        for action in ACTIONS
    ]
    return "\n".join(rows) + "\n"
