"""`tlsearch run STUDY` with another portfolio, to which the study's own images had nothing to say.

python benchmarks/peers/left_out.py PORTFOLIO.json STUDY
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

from tlsearch.cli import main
from tlsearch.config import portfolio

if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.argv = ["tlsearch", "run", sys.argv[2], "--json"]
    with patch.object(portfolio, "portfolio", lambda: content):
        main()
