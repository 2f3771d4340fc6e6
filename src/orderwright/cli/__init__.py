"""The command `orderwright`.

main    the commands, and what each is for      plan      which services run in this process, and where
up      run until told to stop                  demo      one order, step by step
goods   the demo catalog and its people         operate   migrations, accounts, rebuilding
deadletters   messages that failed              reference   routes, events, settings
broker  what waits at a broker, and emptying one that is to be left
console where it prints
"""
