"""Files that a user writes in TOML: the configuration of a whole bot, and plans.

The modules: `text_files` and `toml_files` read a file and find the line of a field. `plans` reads a plan, `settings` reads the
configuration of a bot, and `bot` opens what it describes. Credentials are in none of these files.
"""
