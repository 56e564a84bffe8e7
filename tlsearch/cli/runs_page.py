"""Where MLflow shows a study's runs."""

import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException

import typer

from tlsearch.study.values import hidden
from tlsearch.tracking.looking import ASK_SECONDS, request
from tlsearch.tracking.view import view_of

HOST = "127.0.0.1"
# urlopen's own opener would send loopback through a proxy of the environment.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_OTHERS = "what answers there is something else"


def runs_page(server: str, experiment: str) -> str:
    """The page of a study's runs as the study would have them shown; the server's first page while
    MLflow has not been written.
    """
    is_ours = server.startswith(f"http://{HOST}:")
    opener = DIRECT if is_ours else urllib.request.build_opener()
    address = f"{server}/api/2.0/mlflow/experiments/get-by-name?"
    try:
        asked = request(address + urllib.parse.urlencode({"experiment_name": experiment}))
        with opener.open(asked, timeout=ASK_SECONDS) as answer:
            found = json.load(answer)["experiment"]
        number, tags = found["experiment_id"], {tag["key"] for tag in found.get("tags", ())}
    except urllib.error.HTTPError:  # it answers: there is no such experiment, or we may not ask
        return f"{server}/"
    except (OSError, ValueError, KeyError, TypeError, HTTPException) as error:
        reason = getattr(error, "reason", error) if isinstance(error, OSError) else _OTHERS
        told = f"MLflow at {hidden(server)} does not answer ({hidden(str(reason))})"
        typer.echo(f"{told} — start that server to see the study's runs", err=True)
        return f"{server}/"
    view = view_of(tags)
    shown = f"?viewStateShareKey={view}" if view else ""
    return f"{server}/#/experiments/{number}/runs{shown}"
