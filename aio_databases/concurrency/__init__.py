"""Event loops, tasks, and how tasks wait for each other, on asyncio and trio."""
