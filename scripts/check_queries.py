#!/usr/bin/env python3
"""Runs the SQL of docs/keys-queries.md, as it stands, in DuckDB over a folder of tables.

DuckDB comes from PyPI into target/python/ on first use. Prints each result as a line of JSON. Exit code 77: DuckDB cannot
be had here (the reason is printed).

Usage: check_queries.py FOLDER   (with patterns/*.parquet and keys/*.parquet in it)
"""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "target" / "python"
DUCKDB = "duckdb==1.4.1"


def skip(why):
    print(f"skipped: DuckDB cannot be had: {why}")
    sys.exit(77)


def bring():
    sys.path.insert(0, str(PACKAGES))
    try:
        import duckdb  # noqa: F401
    except ImportError:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--only-binary=:all:", "--no-deps", "--target", str(PACKAGES), DUCKDB]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            skip(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
        importlib.invalidate_caches()
    try:
        import duckdb
    except ImportError as error:
        skip(str(error))
    return duckdb


def main():
    folder = Path(sys.argv[1])
    duckdb = bring()
    text = (ROOT / "docs" / "keys-queries.md").read_text()
    queries = re.findall(r"^```sql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    os.chdir(folder)
    connection = duckdb.connect()
    for query in queries:
        rows = connection.execute(query)
        names = [column[0] for column in rows.description]
        print(json.dumps([dict(zip(names, row)) for row in rows.fetchall()]))


main()
