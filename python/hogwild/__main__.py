"""`python -m hogwild`: the command where the folder of scripts is not on the path."""

from hogwild.cli.app import main

if __name__ == "__main__":
    main()
