def off():
    raise NotImplementedError
