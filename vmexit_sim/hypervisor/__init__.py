"""The hypervisor: what a platform's exit handling costs, and which locks it takes."""
