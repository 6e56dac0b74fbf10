"""Counts what holds. The last line of a lab is "N passed, N failed"."""

import traceback


class Tally:
    passed = failed = 0

    async def check(self, name, attempt):
        try:
            await attempt
        except Exception as error:  # whatever it is, the other checks still have their turn
            self.failed += 1
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc()
            return
        self.passed += 1
        print(f"ok   {name}", flush=True)

    async def scenario(self, name, attempt):
        """A scenario that breaks off, or that checks nothing, has failed."""
        before = self.passed + self.failed
        try:
            await attempt
        except Exception as error:
            self.failed += 1
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc()
        if self.passed + self.failed == before:
            raise RuntimeError(f"{name} checked nothing")

    def result(self):
        """Prints the closing line; returns the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
