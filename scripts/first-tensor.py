"""Prints the address of the first tensor in the output of `cairn ls --json`, read from standard input."""

import json
import sys


def find(node):
    if isinstance(node, dict):
        if node.get("type") == "tensor" and "address" in node:
            return node["address"]
        node = list(node.values())
    if isinstance(node, list):
        return next((found for found in map(find, node) if found is not None), None)
    return None


print(find(json.load(sys.stdin)))
