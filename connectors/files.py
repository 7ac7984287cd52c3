"""Files on disk, followed by name. In: a path. Out: its bytes in order, through rotation, truncation and absence.

A rotated file (`app.log` becomes `app.log.1`, or `app.log-20240131`) and its successor are one source, read oldest
first. A file is known by its inode and by a fingerprint of its first bytes, so a file that was replaced, truncated, or
copied and truncated is noticed. Linux and macOS; compressed siblings are not read.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Sequence

from connectors.cursor import HEAD_BYTES, Cursor, fingerprint
from connectors.tail import Found
from models.errors import ConfigError

__all__ = ["FileTail", "check_file", "rotated_from", "rotated_siblings", "source_id_of", "text_of"]

_NUMBERED = re.compile(r"\.(\d{1,4})")
_DATED = re.compile(r"[.-](\d{4}-?\d\d-?\d\d(?:[T_-]?\d\d[\d:]*)?)")
_SUFFIX = re.compile(rf"(.+?)(?:{_NUMBERED.pattern}|{_DATED.pattern})")
_MOST_LEFT = 16
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def source_id_of(path: str) -> str:
    """The source's name in the log: the absolute path, symbolic links kept (a link may be what rotates)."""
    return f"file:{text_of(os.path.abspath(path))}"


def text_of(path: str) -> str:
    """A path as text that can be written: bytes of it that are no UTF-8 stand as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _too_many_files(path: str) -> ConfigError:
    """For a file that there is no descriptor left for."""
    advice = "Raise the hard limit (ulimit -Hn 65536, or LimitNOFILE= of a systemd unit)"
    return ConfigError("too many open files", file=path, advice=advice)


def check_file(path: str, followed_before: bool) -> None:
    """Raise ConfigError, naming the path and what to do, where it cannot be read. A file that was followed before may
    be absent: it is waited for.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ConfigError("this input is a directory", file=path, advice=f"Name files, for example {path}/*.log")
        if not stat.S_ISREG(mode):
            raise ConfigError("this input is no regular file", file=path, advice="Pipe it in: foreshock run --input -")
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        if not followed_before:
            raise ConfigError(
                "this input does not exist",
                file=path,
                advice="Check the path; a pattern, as '/var/log/shop/*.log', waits for files",
            ) from None
    except OSError as error:
        if error.errno in _NO_DESCRIPTORS:
            raise _too_many_files(path) from error
        if not isinstance(error, PermissionError):
            raise
        raise ConfigError(
            "this input may not be read",
            file=path,
            advice="Run as a user who may (group adm on many systems), or chmod it",
        ) from None


def rotated_siblings(path: str) -> list[str]:
    """The uncompressed files that `path` was rotated to, oldest first: by date, then by falling number."""
    folder, name = os.path.split(path)
    dated, numbered = [], []
    try:
        entries = os.listdir(folder or ".")
    except OSError:
        return []
    for entry in entries:
        suffix = entry.removeprefix(name)
        if suffix == entry:
            continue
        if match := _NUMBERED.fullmatch(suffix):
            numbered.append((-int(match[1]), entry))
        elif match := _DATED.fullmatch(suffix):
            dated.append((match[1], entry))
    return [os.path.join(folder, entry) for _, entry in (*sorted(dated), *sorted(numbered))]


def rotated_from(path: str) -> str:
    """The path that this one, by its name, was rotated from (see rotated_siblings); "" where it looks like none."""
    found = _SUFFIX.fullmatch(path)
    return found[1] if found else ""


class FileTail:
    """One file by name, from the oldest of `older` (its rotated siblings that are to be read too) or from `resume` on.

    `once`: the end of the newest file is the end. `lost` is True where the file that `resume` names was not found: it
    was begun again with what stands there now.
    """

    def __init__(
        self, path: str, *, older: Sequence[str] = (), resume: Cursor | None = None, once: bool = False
    ) -> None:
        self.source_id = source_id_of(path)
        self.path = path
        self.lost = False
        self.position = 0
        self.generation = 0
        self.inode = 0
        self.modified_at = 0
        self._once = once
        self._fd = -1
        self._head = b""
        self._wanted = resume
        self._left: deque[Cursor] = deque(maxlen=_MOST_LEFT)
        if resume is not None:
            self._resume(resume)
        else:
            self._open(older[0] if older else path)

    def read(self, size: int) -> bytes:
        """The next bytes; none while the file is begun anew or not there."""
        if self._fd < 0 or self._begun_anew():
            return b""
        data = os.pread(self._fd, size, self.position)
        if data:
            self.modified_at = os.fstat(self._fd).st_mtime_ns // 1_000_000
            self.position += len(data)
            if len(self._head) < HEAD_BYTES:
                self._head = os.pread(self._fd, HEAD_BYTES, 0)
        return data

    def look(self) -> Found:
        """A successor counts once it holds something: until then the old file may still be written to."""
        if self._fd >= 0 and self._begun_anew():
            return Found.TRUNCATED
        present = _inode(self.path)
        if self._fd >= 0 and present == self.inode:
            return Found.NOTHING
        if self._successor() is not None:
            return Found.SUCCESSOR
        return Found.NOTHING if self._fd >= 0 and present else Found.VANISHED

    def move_on(self) -> None:
        """Open the successor, or begin the present file again. A copy that was made before a truncation is looked for,
        so that what was not read yet is not lost.
        """
        if self._fd >= 0 and self._begun_anew():
            head, place = self._head, self.position
            copy = self._copy_of(head, place)
            self._open(copy or self.path)
            if copy is not None:
                self._head, self.position = head, place
            return
        if self._fd < 0 and self._wanted is not None:
            self._resume(self._wanted)
            return
        successor = self._successor()
        if successor is None:
            return
        head = self._head
        here = Cursor(self.generation, self.inode, self.position, fingerprint(head, self.position))
        moved = self._fd >= 0 and os.fstat(self._fd).st_nlink == 0 and self._fits(successor, here)
        self._left.append(here._replace(generation=0))
        self._open(successor)
        if moved:
            self.position = here.offset  # the same file, written back under a new inode
            self._head = head

    def reads(self, path: str) -> bool:
        """Is this the file that is being read, perhaps under another name?"""
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(path))
        except OSError:
            return False

    def left_as(self, path: str) -> Cursor | None:
        """Where the file that has this name now was left, if it was read before it was renamed."""
        inode = _inode(path)
        return next((left for left in self._left if left.inode == inode and self._fits(path, left)), None)

    @property
    def head(self) -> bytes:
        """The file's first bytes, as far as they were read."""
        return self._head

    def over(self) -> bool:
        """Only with `once`: no successor, nothing begun anew."""
        return self._once and self.look() in (Found.NOTHING, Found.VANISHED)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, path: str) -> None:
        """Begin with the first byte of `path`; with no file where it is not there (it is waited for)."""
        self.close()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                raise _too_many_files(path) from error
            return
        if self.inode:
            self.generation += 1
        status = os.fstat(self._fd)
        self.inode, self.modified_at = status.st_ino, status.st_mtime_ns // 1_000_000
        self.position = 0
        self._head = b""

    def _resume(self, cursor: Cursor) -> None:
        found = (self.path, *reversed(rotated_siblings(self.path)))
        # That very file first: logs that all begin with the same long header are told apart by nothing else.
        for path in sorted(found, key=lambda path: _inode(path) != cursor.inode):
            if self._fits(path, cursor):
                self._open(path)
                self.position = cursor.offset
                self._head = os.pread(self._fd, HEAD_BYTES, 0)
                self.generation = cursor.generation
                self.lost = False
                return
        self._open(self.path)
        self.generation = cursor.generation + 1
        self.lost = self._fd >= 0

    def _fits(self, path: str, cursor: Cursor) -> bool:
        """Is this the file that the cursor was in: the same first bytes, and long enough?"""
        if not _inode(path):
            return False  # to open a named pipe would wait for its writer
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < cursor.offset:
                    return False
                if not cursor.offset:
                    return status.st_ino == cursor.inode
                return fingerprint(file.read(HEAD_BYTES), cursor.offset) == cursor.fingerprint
        except OSError:
            return False

    def _begun_anew(self) -> bool:
        """Shorter than what was read of it, or other first bytes."""
        if os.fstat(self._fd).st_size < self.position:
            return True
        seen = self._head[: self.position]
        return os.pread(self._fd, len(seen), 0) != seen

    def _copy_of(self, head: bytes, size: int) -> str | None:
        """The newest sibling that begins with `head` and is longer than what was read."""
        for path in filter(_inode, reversed(rotated_siblings(self.path))):
            try:
                with open(path, "rb") as file:
                    if head and os.fstat(file.fileno()).st_size > size and file.read(len(head)) == head:
                        return path
            except OSError:
                continue
        return None

    def _successor(self) -> str | None:
        """The file that follows the present one in the order of rotation, where it holds something."""
        chain = [*rotated_siblings(self.path), self.path]
        inodes = [_inode(path) for path in chain]
        if self.inode in inodes:
            rest = range(inodes.index(self.inode) + 1, len(chain))
        else:
            rest = range(len(chain) - 1, len(chain))
        for at in rest:
            if inodes[at] and os.path.getsize(chain[at]) > 0:
                return chain[at]
        return None


def _inode(path: str) -> int:
    """The inode of a readable regular file; 0 where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    return status.st_ino if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK) else 0
