SELECT count(*), sum(amount) FROM {items}{where_organization};
