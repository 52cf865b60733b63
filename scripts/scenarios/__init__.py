"""What scripts/interop runs, by subject. Every function under `@scenario` is one."""
