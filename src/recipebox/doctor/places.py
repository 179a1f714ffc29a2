"""Memory, shared memory, disks, weights and data sets. Python 3.8, standard library."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import stat
from typing import Any

from recipebox.doctor import facts
from recipebox.doctor.findings import NOTE, OK, PROBLEM, WARNING, Finding, gigabytes, read, short, shown

_LISTED = 12


def check_machine(request: dict[str, Any]) -> list[Finding]:
    """Cores and memory that this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    values = {}
    for line in read("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdigit():
            values[key] = int(number[0]) * 1024
    total = values.get("MemTotal", 0)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = read(path)
        if text.isdigit():
            total = min(total or int(text), int(text))
    found = f"{platform.system()} {platform.release()}, {cores} core{'' if cores == 1 else 's'}"
    if not total:
        return [Finding("machine", NOTE, f"{found}, memory unknown")]
    found += f", {gigabytes(total)} memory"
    if total < 3 << 30:
        why = "too little to train in: a small network at batch 16 takes about 3 GB"
        return [Finding("machine", WARNING, found, why, "make train PROFILE=smoke SET=train.batch=2")]
    return [Finding("machine", OK, found)]


def check_shared_memory(request: dict[str, Any]) -> list[Finding]:
    """/dev/shm, through which loader workers hand over batches."""
    name, place = "shared memory", request["shm"]
    try:
        size = os.statvfs(place)
    except OSError as error:
        return [
            Finding(
                name,
                WARNING,
                f"{place}: {error.strerror}",
                "loader workers need it",
                f"sudo mount -t tmpfs tmpfs {place}",
            )
        ]
    total, free = size.f_blocks * size.f_frsize, size.f_bavail * size.f_frsize
    found = f"{gigabytes(total)}, {gigabytes(free)} free"
    mend = f"sudo mount -o remount,size=8G {place}    # or: docker run --shm-size=8g ..."
    if total < facts.SHM_BYTES:
        why = 'too small for loader workers: training would end with "bus error"'
        return [Finding(name, PROBLEM if total < facts.SHM_BYTES // 8 else WARNING, found, why, mend)]
    if free < facts.SHM_BYTES // 2:
        why = "nearly full: something else, or a killed training, left files there"
        return [Finding(name, WARNING, found, why, f"ls -lh {place}")]
    return [Finding(name, OK, found)]


def check_disk(request: dict[str, Any]) -> list[Finding]:
    """Free room where runs, prepared data and temporary files go; places on one disk share a row."""
    rows: dict[tuple[Any, ...], list[str]] = {}
    findings = []
    for use, place in request["disk"].items():
        try:
            there = _existing(place)
            size, device = os.statvfs(there), os.stat(there).st_dev
        except OSError as error:
            why = "a relative path, and the current folder is gone" if not os.path.isabs(place) else ""
            findings.append(Finding("disk", PROBLEM, f"{shown(place)} ({use}): {error.strerror}", why))
            continue
        if not os.access(there, os.W_OK | os.X_OK):
            variable = {"runs": "RECIPEBOX_RUNS", "cache": "XDG_CACHE_HOME"}.get(use, "TMPDIR")
            why = f"{use} cannot be written there"
            findings.append(
                Finding("disk", PROBLEM, f"{shown(there)} may not be written", why, f"export {variable}=$HOME/{use}")
            )
        free = size.f_bavail * size.f_frsize
        inodes = size.f_favail if size.f_files else -1
        rows.setdefault((device, free, inodes), []).append(use)
    for (_, free, inodes), uses in rows.items():
        findings.append(_room(free, inodes, uses, request))
    return findings


def _room(free: int, inodes: int, uses: list[str], request: dict[str, Any]) -> Finding:
    found = f"{gigabytes(free)} free for {', '.join(uses)}"
    wanted = max(facts.DISK_BYTES[use] for use in uses)
    place = shlex.quote(_disk_of(_existing(request["disk"][uses[0]])))
    mend = f"sudo du -xh --max-depth=4 {place} | sort -h | tail -30"
    if inodes == 0:
        return Finding("disk", PROBLEM, f"{found}, and no inode left", "no file can be made", mend)
    if free < wanted // 4:
        return Finding("disk", PROBLEM, found, "a run may not be written to its end", mend)
    if free < wanted:
        return Finding("disk", WARNING, found, f"below {gigabytes(wanted)} a longer training may not end well", mend)
    return Finding("disk", OK, found)


def _existing(place: str) -> str:
    """The nearest folder above `place` that is there."""
    place = os.path.abspath(place)
    while not os.path.isdir(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    return place


def _disk_of(folder: str) -> str:
    """The highest folder on the same disk."""
    while not os.path.ismount(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def check_weights(request: dict[str, Any]) -> list[Finding]:
    """Weights at hand, each held against the hash it should have."""
    name, asked = "weights", request["weights"]
    known: dict[str, str] = asked["known"]
    findings, seen = [], 0
    for root in asked["roots"]:
        try:
            files = sorted(one for one in os.listdir(root) if one.endswith(".pt"))
        except FileNotFoundError:
            if root == asked.get("given"):
                findings.append(_no_folder(name, root, "RECIPEBOX_WEIGHTS"))
            continue
        except OSError as error:
            findings.append(
                Finding(name, PROBLEM, f"{shown(root)}: {error.strerror}", "", f"ls -ld {shlex.quote(root)}")
            )
            continue
        for file in files[:_LISTED]:
            seen += 1
            findings.append(_weights_file(os.path.join(root, file), file, known))
        if len(files) > _LISTED:
            findings.append(Finding(name, NOTE, f"{shown(root)}: {len(files) - _LISTED} more, not looked at"))
    if not seen and not findings:
        why = "recipes that begin from COCO weights fetch them, or fall back to training from scratch and say so"
        return [Finding(name, NOTE, "none here", why, "export RECIPEBOX_WEIGHTS=/folder/with/yolov8n.pt")]
    return findings


def _weights_file(path: str, file: str, known: dict[str, str]) -> Finding:
    name, here, quoted = "weights", shown(path), shlex.quote(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return Finding(name, WARNING, f"{here}: not a file")
        digest, size = _sha256(path), os.path.getsize(path)
    except OSError as error:
        return Finding(name, PROBLEM, f"{here}: {error.strerror}", "", f"ls -l {quoted}")
    if not known:
        return Finding(name, NOTE, f"{here}, {gigabytes(size)}, SHA-256 {digest[:12]}...: not compared")
    if file not in known:
        why = "not one of the published files: a recipe must vouch for it (model.sha256), or --trust-weights"
        return Finding(name, NOTE, f"{here}, {gigabytes(size)}, SHA-256 {digest[:12]}...", why)
    if digest == known[file]:
        return Finding(name, OK, f"{here}, the published file")
    why = f"SHA-256 {digest[:12]}..., published is {known[file][:12]}...: cut short or changed"
    return Finding(
        name,
        PROBLEM,
        f"{here}, {size} bytes, not the published file",
        why,
        f"mv {quoted} {shlex.quote(path + '.spoiled')}",
    )


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _no_folder(name: str, root: str, variable: str) -> Finding:
    return Finding(name, PROBLEM, f"{shown(root)}: no such folder", f"{variable} names it", f"unset {variable}")


def check_data(request: dict[str, Any]) -> list[Finding]:
    """Data sets known by name, and those that lie in the data folder; their images are not looked at."""
    name, asked = "data", request["data"]
    findings: list[Finding] = []
    found: dict[str, str] = {}
    for root in asked["roots"]:
        if not os.path.isdir(root):
            if root == asked.get("given"):
                findings.append(_no_folder(name, root, "RECIPEBOX_DATA"))
            continue
        try:
            entries = sorted(os.listdir(root))
        except OSError as error:
            findings.append(
                Finding(name, PROBLEM, f"{shown(root)}: {error.strerror}", "", f"ls -ld {shlex.quote(root)}")
            )
            continue
        for entry in entries:
            path = os.path.join(root, entry)
            base = next((entry[: -len(end)] for end in asked["suffixes"] if entry.endswith(end)), entry)
            if base in asked["names"] or os.path.isfile(os.path.join(path, "data.yaml")):
                found.setdefault(base, path)
    for base in [*asked["names"], *sorted(set(found) - set(asked["names"]))][: 2 * _LISTED]:
        findings.append(_data_set(base, found.get(base)))
    return findings


def _data_set(base: str, path: str | None) -> Finding:
    if path is None:
        why = "fetched where a public address is known; by hand:"
        return Finding(
            "data", NOTE, f"{short(base, 60)}: not here", why, f"make data DATASET={base} FROM=archive-or-folder"
        )
    try:
        size = os.path.getsize(path)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                size = size if file.read(1) else 0
        else:
            size = len(os.listdir(path))
    except OSError as error:
        return Finding("data", PROBLEM, f"{shown(path)}: {error.strerror}", "", f"ls -l {shlex.quote(path)}")
    if not size:
        return Finding("data", PROBLEM, f"{shown(path)}: empty", "", f"rm -r {shlex.quote(path)}")
    return Finding("data", OK, f"{short(base, 60)}: {shown(path)}")
