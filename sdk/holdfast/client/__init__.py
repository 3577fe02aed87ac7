"""Starting, watching and steering runs. Importing it makes `workflow.start(...)` work; nothing connects before."""

from holdfast.authoring.starter import set_default_starter
from holdfast.channel.run_records import ClosedRun
from holdfast.client.client import Client
from holdfast.client.defaults import close_default_client, default_client, start, start_with_default_client
from holdfast.client.descriptions import RunDescription, RunPage
from holdfast.client.handle import RunHandle
from holdfast.client.history import History, HistoryEntry
from holdfast.client.reports import RunReport, TaskReport
from holdfast.client.start_specs import by_name

__all__ = [
    "Client",
    "ClosedRun",
    "History",
    "HistoryEntry",
    "RunDescription",
    "RunHandle",
    "RunPage",
    "RunReport",
    "TaskReport",
    "by_name",
    "close_default_client",
    "default_client",
    "start",
]

set_default_starter(start_with_default_client)
