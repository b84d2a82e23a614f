#!/bin/sh
# Is the agent well?
curl -fsS "http://127.0.0.1:${1:-8099}/status.json" | grep -q '"state": "ready"'
