"""What all hosts of a release share: the tree of a bare Debian, and a cache of packages.

Both live in `bases/<release>/` and outlive the labs. A tree is never written after it is made; its
name is a digest of what it was made from, and a lab stays on the one it began with.
The cache (`pool/`) is never mounted: a lab gets hard links of it as a read-only layer, so that
hosts cannot disturb each other (each has its own lock files) and the layer never changes.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from failoverctl.errors import ExitCode
from failoverctl.lab import cgroup
from failoverctl.lab.errors import LabError
from failoverctl.lab.process import PRIVATE_MOUNTS, remove, run
from failoverctl.lab.state import Say, write_file

RELEASES = ("trixie", "bookworm")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHIVES = Path("var/cache/apt/archives")
_PUBLIC_MIRROR = "http://deb.debian.org/debian"
_PUBLIC_SECURITY = "http://deb.debian.org/debian-security"
# What of the machine's apt configuration describes its way to the mirror.
_APT_SETTINGS = re.compile(r"^(Acquire::(https?::Proxy|https?::Proxy::.*|Check-Valid-Until|Check-Date)) (\".*\");$")
_BUILD_SECONDS = 1200.0
_CACHED = "cached"

_BUILD_SCRIPT = """\
set -eu
echo $$ > "$GROUP/cgroup.procs"
exec "$@"
"""

# The hosts' own apt fills the cache, on a throw-away layer over the tree, seeing the pool itself.
_PREFETCH_SCRIPT = """\
set -eu
echo $$ > "$GROUP/cgroup.procs"
mount -t overlay overlay -o "lowerdir=$TREE,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
mount --rbind /dev "$WORK/root/dev"
mount -t proc proc "$WORK/root/proc"
mount --bind "$POOL" "$WORK/root/var/cache/apt/archives"
cp "$WORK/resolv.conf" "$WORK/root/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$WORK/root" apt-get --quiet update
exec chroot "$WORK/root" apt-get --quiet --yes --download-only \
  -o APT::Sandbox::User=root install "$@"
"""


@dataclass(frozen=True)
class Mirror:
    """Where packages come from, and apt settings of the machine that the way there needs."""

    main: str
    security: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Packages:
    """The package lists of packages.yaml."""

    installed: tuple[str, ...]
    cached: tuple[str, ...]


def read_packages() -> Packages:
    """Return what packages.yaml says."""
    data = yaml.safe_load(Path(__file__).with_name("packages.yaml").read_text(encoding="utf-8"))
    return Packages(installed=tuple(data["installed"]), cached=tuple(data["cached"]))


def parse_sources(text: str, codename: str) -> tuple[str | None, str | None]:
    """Return the archive and the security archive that apt sources name for release `codename`.

    :param text: sources in one-line style or deb822 style (sources.list(5)), or both.
    """
    main: str | None = None
    security: str | None = None
    for uri, suite in _one_line_entries(text) + _deb822_entries(text):
        if not uri.startswith(("http://", "https://")):
            continue
        if suite == codename:
            main = main or uri
        elif suite == f"{codename}-security":
            security = security or uri
    return main, security


def parse_apt_settings(dump: str) -> tuple[str, ...]:
    """Return the lines of `apt-config dump` that describe the way to the mirror."""
    return tuple(line for line in dump.splitlines() if _APT_SETTINGS.match(line))


def read_mirror(etc: Path = Path("/etc")) -> Mirror:
    """Return the mirror this machine itself uses, or Debian's public one."""
    release = configparser.ConfigParser(interpolation=None)
    release.read_string("[os]\n" + (etc / "os-release").read_text(encoding="utf-8"))
    codename = release.get("os", "VERSION_CODENAME", fallback="").strip('"')
    files = [etc / "apt/sources.list"]
    files += sorted((etc / "apt/sources.list.d").glob("*.list"))
    files += sorted((etc / "apt/sources.list.d").glob("*.sources"))
    main: str | None = None
    security: str | None = None
    for file in files:
        if file.is_file() and codename:
            found = parse_sources(file.read_text(encoding="utf-8"), codename)
            main, security = main or found[0], security or found[1]
    return Mirror(
        main=main or _PUBLIC_MIRROR,
        security=security or _PUBLIC_SECURITY,
        settings=parse_apt_settings(run(["apt-config", "dump"]).stdout),
    )


def sources_text(release: str, mirror: Mirror) -> str:
    """Return the debian.sources of a host: main archive, updates and security."""
    return f"""\
Types: deb
URIs: {mirror.main}
Suites: {release} {release}-updates
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: {mirror.security}
Suites: {release}-security
Components: main
Signed-By: {KEYRING}
"""


def parse_nameservers(text: str) -> list[str]:
    """Return the name servers of a resolv.conf(5) that another host can reach too."""
    found = re.findall(r"^\s*nameserver\s+(\S+)", text, flags=re.MULTILINE)
    return [server for server in found if not server.startswith("127.") and server != "::1"]


def read_resolver() -> str:
    """Return the resolv.conf for the hosts.

    :raises LabError: the machine only knows resolvers on its own loopback address.
    """
    candidates = (
        "/etc/resolv.conf",
        "/run/systemd/resolve/resolv.conf",
        "/run/NetworkManager/no-stub-resolv.conf",
    )
    for candidate in candidates:
        path = Path(candidate)
        if path.is_file():
            servers = parse_nameservers(path.read_text(encoding="utf-8", errors="replace"))
            if servers:
                return "".join(f"nameserver {server}\n" for server in servers)
    raise LabError(
        "no name server was found that the lab's hosts could use",
        why=f"looked for addresses other than loopback in {', '.join(candidates)}",
        fix="put a `nameserver` line with a reachable address into /etc/resolv.conf",
    )


def tree_path(base: Path, name: str) -> Path:
    """Return the tree called `name` below the folder of a release."""
    return base / "trees" / name


def tree_files(release: str, mirror: Mirror) -> dict[str, str]:
    """Return the files that the lab puts into a tree, by path, with their text."""
    settings = "".join(f"{setting}\n" for setting in mirror.settings)
    keep = 'APT::Keep-Downloaded-Packages "true";\n'
    return {
        "etc/apt/sources.list.d/debian.sources": sources_text(release, mirror),
        # Nothing here reads translations. And a package deleted after its installation would be
        # missing in the cache.
        "etc/apt/apt.conf.d/90lab": (f'{settings}Acquire::Languages "none";\n{keep}Binary::apt::{keep}'),
        # A lab's disk may be lost; waiting for it a thousand times an installation is not worth it.
        "etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n",
        # All hosts share the machine's clock and none may set it; chronyd still measures and serves.
        "etc/systemd/system/chrony.service.d/lab.conf": (
            "[Unit]\nConditionCapability=\n\n[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS\n"
        ),
    }


def wanted_tree(release: str) -> str:
    """Return the name of the tree that a new lab of `release` gets on this machine."""
    parts = [release, *read_packages().installed]
    for path, text in sorted(tree_files(release, read_mirror()).items()):
        parts += [path, text]
    return _digest(parts)[:12]


def ensure_base(base: Path, release: str, name: str, say: Say) -> None:
    """Make the tree `name` and fill the package cache where that is not done.

    The caller has the lock of the release.

    :param name: a tree that exists, or the one `wanted_tree` names.
    :raises LabError: mmdebstrap or apt failed.
    """
    # Whatever still builds belongs to a command that died: its lock is ours now.
    cgroup.kill(cgroup.build_group(release))
    for leftover in base.glob("*.new"):
        remove(leftover)
    packages = read_packages()
    if not tree_path(base, name).exists():
        mirror = read_mirror()
        say(f"building a bare Debian {release} from {mirror.main} (once, under a minute)")
        _build_tree(base, release, name, mirror, packages.installed)
    digest = _digest(packages.cached)
    if _read(base / _CACHED) != digest:
        say(f"filling the package cache of {release} (once)")
        _prefetch(base, release, name, packages.cached)
        write_file(base / _CACHED, digest)


def remove_unused_trees(base: Path, used: Iterable[str]) -> None:
    """Remove the trees that no lab uses; the caller has the lock of the release."""
    for folder in (base / "trees").iterdir():
        if folder.name not in used:
            # Moved away first: a half-removed tree must not be taken for a tree.
            folder.rename(base / f"{folder.name}.new")
            remove(base / f"{folder.name}.new")


def link_archives(base: Path, archives: Path) -> None:
    """Fill `archives` with hard links of all cached packages, as a layer for the hosts."""
    target = archives / ARCHIVES
    target.mkdir(parents=True, exist_ok=True)
    for package in (base / "pool").glob("*.deb"):
        link = target / package.name
        if not link.exists():
            os.link(package, link)


def harvest(base: Path, upper: Path) -> int:
    """Move the packages a host downloaded into the cache; return how many were new.

    :param upper: the host's own layer; the host must be off.
    """
    pool = base / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    new = 0
    for package in (upper / ARCHIVES).glob("*.deb"):
        # A whiteout of the overlay is a character device: a package the host deleted.
        if package.is_file() and not package.is_symlink() and not (pool / package.name).exists():
            package.rename(pool / package.name)
            new += 1
    return new


def _build_tree(base: Path, release: str, name: str, mirror: Mirror, installed: tuple[str, ...]) -> None:
    new = base / "tree.new"
    temporary = base / "tmp.new"
    temporary.mkdir(parents=True)
    options = [f"--aptopt={setting}" for setting in mirror.settings]
    _guarded(
        release,
        [
            *PRIVATE_MOUNTS,
            "sh",
            "-c",
            _BUILD_SCRIPT,
            "build",
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--skip=cleanup/apt/lists",
            f"--include={','.join(installed)}",
            *options,
            release,
            str(new),
            "-",
        ],
        env={"TMPDIR": str(temporary)},
        stdin=sources_text(release, mirror),
        log=base / "build.log",
    )
    _prepare_tree(new, release, mirror)
    # What was never synced could be half there after a power loss, under a name that says "whole".
    os.sync()
    tree_path(base, name).parent.mkdir(exist_ok=True)
    new.rename(tree_path(base, name))
    remove(temporary)


def _prepare_tree(new: Path, release: str, mirror: Mirror) -> None:
    apt = new / "etc/apt"
    for file in (apt / "sources.list.d").iterdir():
        file.unlink()
    (apt / "sources.list").unlink(missing_ok=True)
    (apt / "apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for path, text in tree_files(release, mirror).items():
        write_file(new / path, text)
    # Unattended package runs would hold apt's lock at moments nobody chose.
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        (new / "etc/systemd/system/timers.target.wants" / timer).unlink(missing_ok=True)
    # Each host gets its own of these.
    for pattern in ("etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/dbus/machine-id"):
        for file in new.glob(pattern):
            file.unlink()
    for file in (new / ARCHIVES).glob("*.deb"):
        file.unlink()


def _prefetch(base: Path, release: str, name: str, packages: tuple[str, ...]) -> None:
    work = base / "prefetch.new"
    for part in ("upper", "work", "root"):
        (work / part).mkdir(parents=True)
    pool = base / "pool"
    pool.mkdir(exist_ok=True)
    write_file(work / "resolv.conf", read_resolver())
    _guarded(
        release,
        [*PRIVATE_MOUNTS, "sh", "-c", _PREFETCH_SCRIPT, "prefetch", *packages],
        env={"TREE": str(tree_path(base, name)), "WORK": str(work), "POOL": str(pool)},
        stdin="",
        log=base / "prefetch.log",
    )
    remove(work)
    remove(pool / "partial")
    remove(pool / "lock")


def _guarded(release: str, argv: list[str], *, env: dict[str, str], stdin: str, log: Path) -> None:
    """Run a builder inside its cgroup, where a later command finds it if this one is killed."""
    group = cgroup.build_group(release)
    cgroup.create(group)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                argv,
                input=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_BUILD_SECONDS,
                check=False,
                env={"PATH": path, "LC_ALL": "C.UTF-8", **env, "GROUP": str(group)},
            )
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"the base of {release} was not ready after {_BUILD_SECONDS:g} s",
            why=_tail(log),
            fix=f"read {log}, then try again",
            exit_code=ExitCode.TIMED_OUT,
        ) from error
    finally:
        cgroup.kill(group)
        cgroup.remove_top()
    if done.returncode != 0:
        raise LabError(
            f"the base of {release} could not be made (status {done.returncode})",
            why=_tail(log),
            fix=f"read {log}; is the mirror reachable from this machine (apt-get update)?",
            exit_code=ExitCode.FAILED,
        )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-6:])


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _one_line_entries(text: str) -> list[tuple[str, str]]:
    pattern = r"^deb(?:\s+\[[^]]*\])?\s+(\S+)\s+(\S+)"
    return [(uri, suite) for uri, suite in re.findall(pattern, text, flags=re.MULTILINE)]


def _deb822_entries(text: str) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        for name, value in re.findall(r"^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE):
            fields[name.lower()] = value
        enabled = fields.get("enabled", "yes").strip() != "no"
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        entries += [
            (uri, suite) for uri in fields.get("uris", "").split() for suite in fields.get("suites", "").split()
        ]
    return entries
