from servers.programs import find_program
def find_pgpool():
    return find_program("pgpool", "Pgpool-II", "pgpool")
