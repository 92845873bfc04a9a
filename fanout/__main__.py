"""The program: `fanout` and `python -m fanout`."""

from fanout.early_signals import leave_on_signals

leave_on_signals()  # before anything else is imported, so that no signal is a traceback

from fanout.ending import main  # noqa: E402

if __name__ == "__main__":
    main()
