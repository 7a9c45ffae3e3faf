"""Runs a runner over the vectors: vectors.py RUNNER VECTORS. Verdict and class must agree; other codes are listed."""
import collections, hashlib, json, os, subprocess, sys

runner, root = os.path.abspath(sys.argv[1]), sys.argv[2]
vectors = json.load(open(os.path.join(root, "manifest.json"), encoding="utf-8"))["vectors"]
path = lambda name: os.path.join(root, name)
verdict = lambda outcome: outcome if outcome == "accept" else "unsupported" if outcome["class"] == "unsupported" else "reject"
same = lambda a, b: (a if a == "accept" else a["class"]) == (b if b == "accept" else b["class"])

results = []
for at in range(0, len(vectors), 100):
    done = subprocess.run([runner] + [path(v["file"]) for v in vectors[at:at + 100]], stdout=subprocess.PIPE, check=True)
    results += [json.loads(line) for line in done.stdout.splitlines()]
assert len(results) == len(vectors), "a vector without a result"

passed, failed, codes = collections.Counter(), [], []
for v, r in zip(vectors, results):
    assert hashlib.sha256(open(path(v["file"]), "rb").read()).hexdigest() == v["sha256"], v["file"]
    wrong = [] if same(r["open"], v["open"]) else ["open"]
    last = r.get("verify", r["open"])
    if not same(last, v["verify"]):
        wrong.append("verify")
    if verdict(last) != v["expect"]:
        wrong.append("expect")
    if "tensors" in v and r["open"] == "accept":
        listed = [t if isinstance(t, list) else [t] for t in v["tensors"]]      # several: each is allowed
        if len(listed) != len(r["tensors"]) or not all(any(same(t["read"], w) for w in ws) for t, ws in zip(r["tensors"], listed)):
            wrong.append("tensors")
    if "decoded" in v and r != json.load(open(path(v["decoded"]), encoding="utf-8")):
        wrong.append("decoded")
    if wrong:
        failed.append((v["id"], wrong, r["open"], last))
    else:
        passed[v["expect"], "accept" if last == "accept" else last["class"]] += 1
        if (r["open"], last) != (v["open"], v["verify"]):
            codes.append((v["id"], v["open"], v["verify"], r["open"], last))

singly = 0
for v, r in list(zip(vectors, results))[::10]:      # one file a process: the exit status
    done = subprocess.run([runner, path(v["file"])], stdout=subprocess.PIPE)
    singly += 1
    if done.returncode != {"accept": 0, "reject": 1, "unsupported": 3}[v["expect"]] or json.loads(done.stdout) != r:
        failed.append((v["id"], ["exit %d" % done.returncode], r["open"], r.get("verify")))

print(os.path.basename(runner), os.environ.get("CAIRN_RUNNER", "memory") + ":", len(vectors), "vectors,", singly, "of them singly too")
for (expect, name), n in sorted(passed.items()):
    print("  %-11s %-11s %d" % (expect, "" if name == "accept" else name, n))
for line in codes:
    print("  other code:", *line)
for line in failed:
    print("  FAILED:", *line)
sys.exit(bool(failed))
