"""Takes in what provider jobs gave: pictures to the store, the rest to the facts."""
