#!/bin/sh
# Is the agent well?
wget -q -O - "http://127.0.0.1:${1:-8099}/status.json" | grep -q '"state": "ready"'
