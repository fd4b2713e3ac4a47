"""What people write by hand: psycopg reads the rows, elasticsearch-py's parallel_bulk writes them.

Standard input tells where, as JSON: `postgres` (what psycopg connects with), `elasticsearch` (a URL) and `index`.
"""

import base64
import json
import sys

import psycopg
from elasticsearch import Elasticsearch
from elasticsearch.helpers import parallel_bulk

STATUS = [
    "Unspecified", "Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut", "Paused",
]

COLUMNS = """
SELECT namespace_id, run_id, _version, start_time, execution_time, workflow_id, workflow_type_name, status, close_time,
  history_length, history_size_bytes, execution_duration, state_transition_count, memo, encoding, task_queue,
  search_attributes, root_workflow_id, root_run_id
FROM executions_visibility
"""


def time(at):
    return at.isoformat() + "Z"


def action(row, index):
    (namespace, run, version, start, execution, workflow, kind, status, close, length, size, duration, transitions,
     memo, encoding, queue, attributes, root_workflow, root_run) = row
    document = dict(attributes or {})
    document.update(
        NamespaceId=namespace.rstrip(), RunId=run.rstrip(), WorkflowId=workflow, WorkflowType=kind,
        StartTime=time(start), ExecutionTime=time(execution), ExecutionStatus=STATUS[status], TaskQueue=queue,
        RootWorkflowId=root_workflow, RootRunId=root_run,
    )
    if close is not None:
        document.update(
            CloseTime=time(close), HistoryLength=length, HistorySizeBytes=size, ExecutionDuration=duration,
            StateTransitionCount=transitions,
        )
    if memo:
        document.update(Memo=base64.b64encode(memo).decode(), MemoEncoding=encoding)
    return {
        "_op_type": "index", "_index": index, "_id": f"{workflow}~{run.rstrip()}", "version": version,
        "version_type": "external", "_source": document,
    }


def main():
    order = json.load(sys.stdin)
    client = Elasticsearch([order["elasticsearch"]], timeout=60)
    with psycopg.connect(**order["postgres"]) as connection, connection.cursor(name="rows") as rows:
        rows.itersize = 2000
        rows.execute(COLUMNS)
        actions = (action(row, order["index"]) for row in rows)
        written = sum(ok for ok, _ in parallel_bulk(client, actions, thread_count=2, chunk_size=1000))
    print(written)


main()
