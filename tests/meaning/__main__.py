"""Write the listings of all cases anew: ``python tests/meaning``."""

from cases import renew

if __name__ == "__main__":
    for path in renew():
        print(f"written: {path.name}")
