"""Tells a run as calroll's --output json does: one event a line, so that one reader understands both."""
import json

from ansible import constants as C
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: events
    type: stdout
    short_description: one event a line
    description: one event a line
"""


def plain(value):
    if hasattr(value, "items"):
        return {to_text(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return to_text(value)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "events"

    def tell(self, event, **more):
        print(json.dumps(plain(dict(event=event, **more))), flush=True)

    def result(self, event, result, status, **more):
        r = dict(result._result)
        diff = r.pop("diff", None) or []
        self.tell(event, host=result._host.get_name(), status=status, result=r, diff=diff if isinstance(diff, list) else [diff],
                  action=result._task.action.split(".")[-1], **more)

    def v2_playbook_on_play_start(self, play):
        self.tell("play_start", play=play.get_name().strip())

    def v2_playbook_on_no_hosts_matched(self):
        self.tell("no_hosts")

    def v2_playbook_on_task_start(self, task, is_conditional):
        if task.action not in C._ACTION_META:
            self.tell("task_start", task=task.get_name().strip(), action=task.action.split(".")[-1])

    def v2_playbook_on_cleanup_task_start(self, task):
        self.tell("task_start", task=task.get_name().strip(), action=task.action.split(".")[-1])

    def v2_playbook_on_handler_task_start(self, task):
        self.tell("task_start", task=task.get_name().strip(), handler=True)

    def v2_playbook_on_include(self, included):
        self.tell("included", message=included._filename, hosts=[h.name for h in included._hosts])

    def v2_runner_retry(self, result):
        self.tell("retry", host=result._host.get_name())

    def v2_runner_on_ok(self, result):
        if result._task.action in C._ACTION_ALL_INCLUDES:
            return  # what is included is told instead
        self.result("host_done", result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.result("host_done", result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self.result("host_done", result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self.result("host_done", result, "unreachable")

    def item(self, result, status):
        if result._task.action in C._ACTION_ALL_INCLUDES and status == "ok":
            return
        self.result("item_done", result, status, item=self._get_item_label(result._result))

    def v2_runner_item_on_ok(self, result):
        self.item(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_item_on_failed(self, result):
        self.item(result, "failed")

    def v2_runner_item_on_skipped(self, result):
        self.item(result, "skipped")

    def v2_playbook_on_stats(self, stats):
        recap = {}
        for host in stats.processed:
            s = stats.summarize(host)
            recap[host] = {"ok": s["ok"], "changed": s["changed"], "unreachable": s["unreachable"], "failed": s["failures"],
                           "skipped": s["skipped"], "rescued": s["rescued"], "ignored": s["ignored"]}
        self.tell("recap", recap=recap)
