"""Hatchling's build hook: compile the native CPU library into the wheel.

Without a compiler the wheel is a pure one, which uses the PyTorch implementations.
`RWKV_MUSIC_WHEEL=linux-arm64` (or another name of `TARGETS` in `rwkv_music/native/build.py`)
compiles for another machine with Zig; `RWKV_MUSIC_WHEEL=any` builds the pure wheel.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "rwkv_music/native"


class NativeLibraryHook(BuildHookInterface):
    """Runs before a wheel is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library and add its files and the platform's tag to the wheel.

        Args:
            version: "standard", or "editable", for which it is compiled in place.
            build_data: Hatchling's description of the wheel.
        """
        build = self._load_build()
        chosen = os.environ.get("RWKV_MUSIC_WHEEL", "")
        if chosen == "any":
            return
        if chosen and chosen not in build.TARGETS:
            known = ", ".join(build.TARGETS)
            raise ValueError(f"RWKV_MUSIC_WHEEL is '{chosen}': choose any, {known}")
        paths = self._cross_compile(build, chosen) if chosen else self._compile(build)
        if not paths:
            return
        self.app.display_info(f"Native CPU library: {', '.join(path.name for path in paths)}")
        if version == "standard":
            target = build.TARGETS[chosen] if chosen else build.host_target()
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{target.tag}"
            shipped = [*paths, paths[0].with_name(build.STAMP)]
            build_data["force_include"].update(
                {str(path): f"{NATIVE}/lib/{path.name}" for path in shipped}
            )

    def _load_build(self) -> ModuleType:
        """Load the build module by its path, since the package cannot be imported yet."""
        path = Path(self.root) / NATIVE / "build.py"
        spec = importlib.util.spec_from_file_location("rwkv_music_native_build", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def _cross_compile(self, build: ModuleType, name: str) -> list[Path]:
        """Compile for a platform by name; fail if that is not possible."""
        folder = Path(self.root) / "build" / "native" / name
        paths: list[Path] = build.renew_library(folder, target=build.TARGETS[name])
        if not paths:
            raise ValueError(f"compiling for {name} needs the package ziglang")
        return paths

    def _compile(self, build: ModuleType) -> list[Path]:
        """Compile for this machine; continue without the library if the compiler fails."""
        try:
            paths: list[Path] = build.renew_library()
        except build.BuildError as error:
            self.app.display_warning(str(error))
            self.app.display_warning("The native CPU library is left out of this installation.")
            return []
        return paths
